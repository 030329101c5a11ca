// SPDX-License-Identifier: BSD-3-Clause
// The life of a hand-off while lighttpd has its connection: states, events, and one table of what
// follows what. Nothing else sets a state.
#pragma once

#include <cstdint>
#include <string>

namespace fd_transfer {

enum class HandoffState : uint8_t {
    claimed,       // the request is ours; nothing has been tried
    deferred,      // goes out at the end of this turn of the event loop, together with others
    waiting,       // in the backlog: the queue is full
    kept,          // in the queue, or with a worker; lighttpd keeps the connection
    lost,          // its worker has died before it answered: to be sent again
    acknowledged,  // a worker has it for good: leave without a word
    refused,       // lighttpd answers, with an error status
    broken,        // nobody can answer it any more: close
    returned,      // the connection is lighttpd's again
    left,          // lighttpd has let the connection go
};

enum class HandoffEvent : uint8_t {
    defer,         // others may come in the same turn
    queue_full,    // no room: it waits
    sent,          // a worker's, and nothing is kept
    sent_kept,     // a worker's, until it says what becomes of it
    acknowledge,   // the worker said taken or done, or has shown that it answers, or the client left
    worker_died,   // before the answer began, and the request may be repeated
    give_back,     // the worker returned the connection, or died after a complete answer
    break_off,     // the worker died within its answer
    refuse,        // no room, no time, no worker
    leave,         // lighttpd comes to the connection and lets it go
};

inline constexpr int handoff_states = int(HandoffState::left) + 1;
inline constexpr int handoff_events = int(HandoffEvent::leave) + 1;

// Whether the event can happen in this state.
bool is_possible(HandoffState state, HandoffEvent event);

// The state after the event, which must be possible.
HandoffState after(HandoffState state, HandoffEvent event);

const char* name_of(HandoffState state);
const char* name_of(HandoffEvent event);

// The whole table in Markdown, as it stands in doc/architecture.md.
std::string handoff_table();

}  // namespace fd_transfer
