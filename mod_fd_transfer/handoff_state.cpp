// SPDX-License-Identifier: BSD-3-Clause
// The table of a hand-off's life.
//
// A request is claimed by a hook. It is handed over at once, or at the end of the turn (deferred), or
// when the queue has room (waiting). If its workers acknowledge, lighttpd keeps the connection until
// one of them says what becomes of it (kept); otherwise it leaves with the message. Whatever waits,
// lies in the queue, or is claimed by a worker that does nothing, is refused in the end: no state
// but those at the bottom of the table lasts for ever.
#include "mod_fd_transfer/handoff_state.h"

#include <cassert>
#include <initializer_list>

namespace fd_transfer {
namespace {

using State = HandoffState;
using Event = HandoffEvent;

struct Row {
    State from;
    Event event;
    State to;
};

constexpr Row rows[] = {
    {State::claimed, Event::defer, State::deferred},
    {State::claimed, Event::queue_full, State::waiting},
    {State::claimed, Event::sent, State::left},
    {State::claimed, Event::sent_kept, State::kept},
    {State::claimed, Event::refuse, State::refused},

    {State::deferred, Event::queue_full, State::waiting},
    {State::deferred, Event::sent, State::left},
    {State::deferred, Event::sent_kept, State::kept},
    {State::deferred, Event::refuse, State::refused},

    // It is handed over from the queue's event; lighttpd comes to the connection later.
    {State::waiting, Event::sent, State::acknowledged},
    {State::waiting, Event::sent_kept, State::kept},
    {State::waiting, Event::refuse, State::refused},

    {State::kept, Event::acknowledge, State::acknowledged},
    {State::kept, Event::worker_died, State::lost},
    {State::kept, Event::give_back, State::returned},
    {State::kept, Event::break_off, State::broken},
    {State::kept, Event::refuse, State::refused},

    {State::lost, Event::sent_kept, State::kept},
    {State::lost, Event::break_off, State::broken},
    {State::lost, Event::refuse, State::refused},

    // The socket cannot be used any more, so not even an error can be answered.
    {State::refused, Event::break_off, State::broken},

    {State::acknowledged, Event::leave, State::left},
};

struct Table {
    // One more than the state that follows; 0: the event is impossible.
    uint8_t cells[handoff_states][handoff_events] = {};

    constexpr Table() {
        for (const Row& row : rows)
            cells[int(row.from)][int(row.event)] = uint8_t(int(row.to) + 1);
    }
};
constexpr Table table;

}  // namespace

bool is_possible(HandoffState state, HandoffEvent event) {
    return table.cells[int(state)][int(event)] != 0;
}

HandoffState after(HandoffState state, HandoffEvent event) {
    assert(is_possible(state, event));
    return HandoffState(table.cells[int(state)][int(event)] - 1);
}

const char* name_of(HandoffState state) {
    constexpr const char* names[handoff_states] = {
        "claimed", "deferred", "waiting",  "kept", "lost", "acknowledged",
        "refused", "broken",   "returned", "left"};
    return names[int(state)];
}

const char* name_of(HandoffEvent event) {
    constexpr const char* names[handoff_events] = {
        "defer",       "queue full", "sent",      "sent, kept", "acknowledge",
        "worker died", "give back",  "break off", "refuse",     "leave"};
    return names[int(event)];
}

std::string handoff_table() {
    std::string text = "| |";
    for (int event = 0; event < handoff_events; ++event)
        text += std::string(" ") + name_of(Event(event)) + " |";
    text += "\n|---|";
    for (int event = 0; event < handoff_events; ++event) text += "---|";
    text += '\n';
    for (int state = 0; state < handoff_states; ++state) {
        text += std::string("| **") + name_of(State(state)) + "** |";
        for (int event = 0; event < handoff_events; ++event) {
            const bool possible = is_possible(State(state), Event(event));
            text += possible ? std::string(" ") + name_of(after(State(state), Event(event))) + " |"
                             : std::string(" |");
        }
        text += '\n';
    }
    return text;
}

}  // namespace fd_transfer
