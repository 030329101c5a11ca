// SPDX-License-Identifier: BSD-3-Clause
// The closing handshake as a table.
//
// Two Close frames end a connection, one each way, in any order (RFC 6455 7.1). So the state is
// which of the two has been seen, and a peer that breaks the rules gives up its right to be heard:
//
//  - Having sent Close we may send nothing more (5.5.1), but what the peer had under way before it
//    saw ours is still delivered.
//  - Having received Close nothing more will come, and what comes is not looked at. We may finish
//    what we are sending before we answer (5.5.1).
//  - A failure (7.1.7) ends receiving at once. If our Close is not out, it is still to be sent,
//    with the code that says what was wrong; then there is nothing left to do, since the peer's
//    Close would not be looked at. If our Close is out already, there is no second one.
//
// The transport is the caller's: he closes it when the state is `closed` and everything is written.
#include "ws/close.h"

namespace ws {

CloseState after(CloseState state, CloseStep step) {
    using enum CloseState;
    static constexpr CloseState table[5][3] = {
        //                   send_close  receive_close   failure
        /* open */ {close_sent, close_received, failed},
        /* close_sent */ {close_sent, closed, closed},
        /* close_received */ {closed, close_received, close_received},
        /* failed */ {closed, failed, failed},
        /* closed */ {closed, closed, closed},
    };
    return table[static_cast<int>(state)][static_cast<int>(step)];
}

}  // namespace ws
