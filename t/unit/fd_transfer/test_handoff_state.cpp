// SPDX-License-Identifier: BSD-3-Clause
// The table of a hand-off's life, cell by cell, and as the documentation prints it.
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "mod_fd_transfer/handoff_state.h"
#include "suite.h"

using namespace fd_transfer;
using State = HandoffState;
using Event = HandoffEvent;

namespace {

// What the table must say, written down a second time: for each state, its events and what follows.
struct Expected {
    State from;
    std::initializer_list<std::pair<Event, State>> events;
};
const Expected expected[] = {
    {State::claimed,
     {{Event::defer, State::deferred},
      {Event::queue_full, State::waiting},
      {Event::sent, State::left},
      {Event::sent_kept, State::kept},
      {Event::refuse, State::refused}}},
    {State::deferred,
     {{Event::queue_full, State::waiting},
      {Event::sent, State::left},
      {Event::sent_kept, State::kept},
      {Event::refuse, State::refused}}},
    {State::waiting,
     {{Event::sent, State::acknowledged},
      {Event::sent_kept, State::kept},
      {Event::refuse, State::refused}}},
    {State::kept,
     {{Event::acknowledge, State::acknowledged},
      {Event::worker_died, State::lost},
      {Event::give_back, State::returned},
      {Event::break_off, State::broken},
      {Event::refuse, State::refused}}},
    {State::lost,
     {{Event::sent_kept, State::kept},
      {Event::break_off, State::broken},
      {Event::refuse, State::refused}}},
    {State::acknowledged, {{Event::leave, State::left}}},
    {State::refused, {{Event::break_off, State::broken}}},
    {State::broken, {}},
    {State::returned, {}},
    {State::left, {}},
};

START_TEST(every_cell) {
    ck_assert_int_eq(int(std::size(expected)), handoff_states);
    for (const Expected& row : expected)
        for (int event = 0; event < handoff_events; ++event) {
            bool possible = false;
            for (const auto& [its_event, to] : row.events)
                if (its_event == Event(event)) {
                    possible = true;
                    ck_assert(after(row.from, Event(event)) == to);
                }
            ck_assert_msg(is_possible(row.from, Event(event)) == possible, "%s, %s",
                          name_of(row.from), name_of(Event(event)));
        }
}
END_TEST

// Nothing waits for ever: from each state some way leads to an end.
START_TEST(every_state_ends) {
    for (int start = 0; start < handoff_states; ++start) {
        std::set<int> reached = {start};
        for (size_t before = 0; before != reached.size();) {
            before = reached.size();
            for (const int state : std::set(reached))
                for (int event = 0; event < handoff_events; ++event)
                    if (is_possible(State(state), Event(event)))
                        reached.insert(int(after(State(state), Event(event))));
        }
        ck_assert_msg(reached.contains(int(State::left)) || reached.contains(int(State::broken)) ||
                          reached.contains(int(State::returned)) ||
                          reached.contains(int(State::refused)),
                      "%s", name_of(State(start)));
    }
}
END_TEST

START_TEST(names_differ) {
    std::set<std::string> names;
    for (int state = 0; state < handoff_states; ++state) names.insert(name_of(State(state)));
    for (int event = 0; event < handoff_events; ++event) names.insert(name_of(Event(event)));
    ck_assert_uint_eq(names.size(), size_t(handoff_states + handoff_events));
}
END_TEST

START_TEST(the_page_prints_the_table) {
    const char* const path = getenv("ARCHITECTURE_PAGE");
    ck_assert_msg(path, "ARCHITECTURE_PAGE must name doc/architecture.md");
    std::stringstream page;
    page << std::ifstream(path).rdbuf();
    ck_assert_msg(page.str().find(handoff_table()) != std::string::npos,
                  "doc/architecture.md lacks this table:\n%s", handoff_table().c_str());
}
END_TEST

}  // namespace

int main() {
    return run_suite("hand-off states", {every_cell, every_state_ends, names_differ,
                                         the_page_prints_the_table});
}
