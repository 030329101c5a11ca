// SPDX-License-Identifier: BSD-3-Clause
// What is done about hand-offs whose worker has died. It is done when lighttpd comes back to the
// connection, at the end of this turn of its loop.
#include "mod_fd_transfer/recovery.h"

#include <algorithm>

#include "process/stopped.h"

namespace fd_transfer {
namespace {

constexpr unsigned most_deaths = 3;  // a request that kills whoever receives it must end

// Before lighttpd or another worker writes to a connection that a worker has had.
bool has_usable_socket(const Pending& pending) {
    return make_non_blocking(pending.request->con->fd);
}

void act(Pending& pending, HandoffEvent event) {
    pending.apply(event);
    joblist_append(pending.request->con);
}

// Nobody will answer it any more: it lies with no worker, or with one that is stopped, or one that
// has had all the time there is. `now` in seconds.
bool is_abandoned(const Pending& pending, const Settings& settings, int64_t now) {
    const bool late = pending.since + settings.deadline <= now;
    if (!late) return false;
    const std::optional<Progress> progress = progress_of(pending.untaken.socket);
    if (!progress || progress->written != pending.untaken.before.written) return false;
    const pid_t owner = owner_of(pending.untaken);
    if (owner == pending.untaken.keeper || process::is_stopped(owner)) return true;
    return progress->consumed == pending.untaken.before.consumed &&
           pending.untaken.since + settings.taken_timeout <= now;
}

}  // namespace

void Recovery::keep(Pending& pending) {
    std::erase(lost_, &pending);
    pending.apply(HandoffEvent::sent_kept);
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
    if (pending.worker == 0) pending.worker = owner_of(pending.untaken);
    act(pending, HandoffEvent::acknowledge);
}

std::optional<int64_t> Recovery::since(uint64_t id) const {
    const auto found = untaken_.find(id);
    return found == untaken_.end() ? std::nullopt : std::optional(found->second->since);
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
                return refuse(pending, 502);
            pending.apply(HandoffEvent::worker_died);
            lost_.push_back(&pending);
            break;
        case Fate::complete:
            complete_.push_back(&pending);
            break;
        case Fate::unanswered:
            refuse(pending, 502);
            break;
        case Fate::broken_off:
            ++statistics_[Statistics::broken_off];
            act(pending, HandoffEvent::break_off);
            break;
        case Fate::pending:
        case Fate::answering:
        case Fate::gone:
            let_go(pending);  // our descriptor is closed: all there is to do
    }
}

void Recovery::refuse(Pending& pending, int status) {
    if (status == 502) ++statistics_[Statistics::unanswered];  // 503 is counted where it is answered
    if (!has_usable_socket(pending)) return act(pending, HandoffEvent::break_off);
    pending.status = status;
    // What the worker read of the client's is not known. And after the response comes a shutdown, so
    // that a worker that wakes cannot write a second one.
    pending.request->keep_alive = 0;
    act(pending, HandoffEvent::refuse);
}

Pending* Recovery::take_complete() {
    if (complete_.empty()) return nullptr;
    Pending* const pending = complete_.front();
    complete_.pop_front();
    return pending;
}

Pending* Recovery::take_lost() {
    if (lost_.empty()) return nullptr;
    Pending* const pending = lost_.front();
    lost_.pop_front();
    return pending;
}

void Recovery::trigger(int64_t now, bool stopping) {
    while (!lost_.empty() && lost_.front()->since + settings_.deadline <= now)
        refuse(*take_lost(), 503);
    std::erase_if(untaken_, [&](const auto& entry) {
        Pending& pending = *entry.second;
        // It is the worker now that the client waits for: no timeout of reading, also if the clock
        // leaps. (The next request sets it anew.)
        pending.request->con->read_idle_ts = now + settings_.taken_timeout;
        return end_late(pending, now, stopping);
    });
    show();
}

// Whether it has ended.
bool Recovery::end_late(Pending& pending, int64_t now, bool stopping) {
    if (is_abandoned(pending, settings_, now)) {
        refuse(pending, 503);
        return true;
    }
    const int64_t patience = stopping ? 1 : settings_.taken_timeout;
    if (pending.untaken.since + patience > now) return false;
    let_go(pending);
    return true;
}

}  // namespace fd_transfer
