// SPDX-License-Identifier: BSD-3-Clause
// What is done about hand-offs whose worker has died. It is done when lighttpd comes back to the
// connection, at the end of this turn of its loop.
#include "mod_fd_transfer/recovery.h"

#include <algorithm>

namespace fd_transfer {
namespace {

constexpr unsigned most_deaths = 3;  // a request that kills whoever receives it must end

// Before lighttpd or another worker writes to a connection that a worker has had.
bool has_usable_socket(const Pending& pending) {
    return make_non_blocking(pending.request->con->fd);
}

void act(Pending& pending, Pending::State state) {
    pending.state = state;
    joblist_append(pending.request->con);
}

}  // namespace

void Recovery::keep(Pending& pending) {
    std::erase(lost_, &pending);
    pending.state = Pending::State::held;
    returned_.remember(pending.request->con);
    if (!pending.untaken.repeatable) pending.data = {};
    untaken_.emplace(pending.untaken.id, &pending);
    show();
}

Pending* Recovery::release(uint64_t id) {
    const auto found = untaken_.find(id);
    if (found == untaken_.end()) return nullptr;
    Pending* const pending = found->second;
    untaken_.erase(found);
    show();
    return pending;
}

Pending* Recovery::hear_of(uint64_t id) {
    Pending* const pending = release(id);
    if (!pending) return nullptr;
    uint64_t& last = last_received_[pending->untaken.channel];
    last = std::max(last, id);
    return pending;
}

void Recovery::let_go(Pending& pending) {
    returned_.forget(pending.request->con);
    act(pending, Pending::State::sent);
}

void Recovery::forget(Pending& pending) {
    std::erase(lost_, &pending);
    std::erase(complete_, &pending);
    release(pending.untaken.id);
}

Recovery::Verdicts Recovery::look(size_t channel, ChannelView view) {
    view.last_received = last_received_[channel];
    for (auto it = untaken_.rbegin(); it != untaken_.rend() && it->first > view.last_received; ++it)
        if (it->second->untaken.channel == channel && is_claimed(it->second->untaken))
            view.last_received = it->first;
    last_received_[channel] = view.last_received;
    Verdicts settled;
    for (const auto& [id, pending] : untaken_) {
        if (pending->untaken.channel != channel) continue;
        const Fate fate = fate_of(pending->untaken, view);
        if (fate != Fate::pending) settled.emplace_back(id, fate);
    }
    return settled;
}

void Recovery::carry_out(const Verdicts& verdicts) {
    for (const auto& [id, fate] : verdicts)
        if (Pending* const pending = release(id)) settle(fate, *pending);
}

void Recovery::settle(Fate fate, Pending& pending) {
    switch (fate) {
        case Fate::repeatable:
            if (pending.untaken.received) ++pending.untaken.deaths;
            if (pending.untaken.deaths >= most_deaths || !has_usable_socket(pending))
                return refuse(pending);
            pending.state = Pending::State::lost;
            lost_.push_back(&pending);
            break;
        case Fate::complete:
            complete_.push_back(&pending);
            break;
        case Fate::unanswered:
            refuse(pending);
            break;
        case Fate::broken_off:
            ++statistics_[Statistics::broken_off];
            act(pending, Pending::State::broken);
            break;
        case Fate::pending:
        case Fate::answering:
        case Fate::gone:
            let_go(pending);  // our descriptor is closed: all there is to do
    }
}

void Recovery::refuse(Pending& pending) {
    ++statistics_[Statistics::unanswered];
    if (!has_usable_socket(pending)) return act(pending, Pending::State::broken);
    pending.status = 502;
    pending.request->keep_alive = 0;  // what the worker read of the client's is not known
    act(pending, Pending::State::refused);
}

Pending* Recovery::take_complete() {
    if (complete_.empty()) return nullptr;
    Pending* const pending = complete_.front();
    complete_.pop_front();
    return pending;
}

void Recovery::trigger(int64_t now, bool stopping) {
    const int64_t patience = stopping ? 1 : settings_.taken_timeout;
    while (!lost_.empty() && lost_.front()->untaken.since + settings_.deadline <= now) {
        refuse(*lost_.front());
        lost_.pop_front();
    }
    std::erase_if(untaken_, [&](const auto& entry) {
        Pending& pending = *entry.second;
        // It is the worker now that the client waits for: no timeout of reading, also if the clock
        // leaps. (The next request sets it anew.)
        pending.request->con->read_idle_ts = now + settings_.taken_timeout;
        const bool late = pending.untaken.since + patience <= now;
        if (late) let_go(pending);
        return late;
    });
    show();
}

}  // namespace fd_transfer
