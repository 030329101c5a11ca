// SPDX-License-Identifier: BSD-3-Clause
// What is done about hand-offs whose worker has died.
#include "mod_fd_transfer/recovery.h"

#include <sys/socket.h>

#include <utility>

namespace fd_transfer {
namespace {

constexpr unsigned most_deaths = 3;  // a request that kills whoever receives it must end
constexpr int64_t linger = 2;        // seconds

}  // namespace

void Recovery::keep(uint64_t id, Untaken handoff) {
    handoff.id = id;
    untaken_.emplace(id, std::move(handoff));
    show();
}

std::optional<Untaken> Recovery::release(uint64_t id) {
    const auto found = untaken_.find(id);
    if (found == untaken_.end()) return std::nullopt;
    Untaken handoff = std::move(found->second);
    untaken_.erase(found);
    show();
    return handoff;
}

void Recovery::look(size_t channel, const ChannelView& view) {
    for (auto it = untaken_.begin(); it != untaken_.end();) {
        Untaken& handoff = it->second;
        const Fate fate = handoff.channel == channel ? fate_of(handoff, view) : Fate::pending;
        if (fate == Fate::pending) {
            ++it;
            continue;
        }
        settle(fate, std::move(handoff), view.now);
        it = untaken_.erase(it);
    }
    show();
}

void Recovery::settle(Fate fate, Untaken handoff, int64_t now) {
    switch (fate) {
        case Fate::repeatable:
            if (handoff.deaths < most_deaths)
                lost_.push_back(std::move(handoff));
            else
                refuse(std::move(handoff), now);
            break;
        case Fate::complete:
            complete_.push_back(std::move(handoff));
            break;
        case Fate::unanswered:
            refuse(std::move(handoff), now);
            break;
        case Fate::broken_off:
            ++statistics_[Statistics::broken_off];
            shutdown(handoff.socket.get(), SHUT_RDWR);
            break;
        case Fate::pending:
        case Fate::answering:
        case Fate::gone:
            break;  // the duplicate is closed, which is all there is to do
    }
}

void Recovery::refuse(Untaken handoff, int64_t now) {
    ++statistics_[Statistics::unanswered];
    answer_bad_gateway(handoff.socket.get());
    lingering_.push_back({std::move(handoff.socket), now + linger});
}

namespace {

Untaken take_first(std::deque<Untaken>& from) {
    Untaken handoff = std::move(from.front());
    from.pop_front();
    return handoff;
}

}  // namespace

Untaken Recovery::take_lost() { return take_first(lost_); }
Untaken Recovery::take_complete() { return take_first(complete_); }

void Recovery::trigger(int64_t now) {
    while (!lingering_.empty() && lingering_.front().until <= now) lingering_.pop_front();
    while (!lost_.empty() && lost_.front().since + settings_.deadline <= now)
        refuse(take_lost(), now);
    std::erase_if(untaken_, [&](const auto& entry) {
        return entry.second.since + settings_.taken_timeout <= now;
    });
    show();
}

}  // namespace fd_transfer
