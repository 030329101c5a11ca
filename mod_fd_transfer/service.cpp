// SPDX-License-Identifier: BSD-3-Clause
// A service: its queue in lighttpd's event loop, and the requests that wait for room in it.
// How they are sent stands in sending.cpp, what its workers say is read in replies.cpp.
#include "mod_fd_transfer/service.h"

#include <errno.h>
#include <string.h>

#include <algorithm>

#include "lighty/compat.h"
#include "mod_fd_transfer/handoff.h"

namespace fd_transfer {

Service::Service(Settings settings, server* srv, ReturnedConnections& returned,
                 lighty::LogEntries& log_entries)
    : settings_(std::move(settings)),
      srv_(srv),
      returned_(returned),
      statistics_(settings_.prefix),
      backlog_(size_t(settings_.backlog), settings_.deadline),
      recovery_(settings_, statistics_, returned_),
      log_entries_(log_entries),
      deferred_log_(size_t(settings_.max_unlogged)) {}

Service::~Service() {
    for (const auto& line : lines_) hang_up(*line);
}

// --- the queue ---

bool Service::open() {
    const size_t count = settings_.spawned() ? 1 : size_t(settings_.workers);
    for (size_t i = 0; i < count; ++i) {
        lines_.push_back(std::make_unique<Line>(Line{.service = this, .index = i}));
        Line& line = *lines_.back();
        if (settings_.spawned()) {
            line.channel = Channel::create(int(settings_.queue_bytes));
            if (!line.channel.open()) return false;
            watch(line);
        } else {
            connect(line);
        }
    }
    return true;
}

void Service::watch(Line& line) {
    line.since = log_monotonic_secs;
    line.node = fdevent_register(srv_->ev, line.channel.fd(), on_event, &line);
    fdevent_fdnode_event_set(srv_->ev, line.node, wanted_events(line));
    ++srv_->cur_fds;
}

void Service::hang_up(Line& line) {
    if (!line.node) return;
    fdevent_fdnode_event_del(srv_->ev, line.node);
    fdevent_unregister(srv_->ev, line.node);
    line.node = nullptr;
    line.channel.close();
    line.deaf = line.silent = line.fuller = line.batches = line.singles = false;
    line.says_done = line.says_nothing = false;
    line.worker = 0;
    --srv_->cur_fds;
}

// Logged when it changes, not each second.
void Service::connect(Line& line) {
    line.channel = Channel::connect(settings_.socket.c_str(), int(settings_.queue_bytes));
    const bool reached = line.channel.open() && line.channel.fd() < srv_->max_fds;
    if (reached) {
        watch(line);
        worker_started(0);
    } else {
        ++statistics_[Statistics::failed];
        if (line.reachable)
            log_error(srv_->errh, __FILE__, __LINE__,
                      "fd-transfer.server \"%s\": cannot connect to \"socket\" => \"%s\": %s; "
                      "trying again each second",
                      settings_.prefix.c_str(), settings_.socket.c_str(), strerror(errno));
        line.channel.close();
    }
    line.reachable = reached;
}

int Service::workers_fd() const {
    return lines_.empty() ? -1 : lines_.front()->channel.workers_fd();
}

int Service::queued_bytes() const {
    int sum = 0;
    for (const auto& line : lines_)
        if (line->node) sum += line->channel.queued_bytes();
    return sum;
}

int Service::wanted_events(const Line& line) const {
    return busy() && !starved_ && !line.deaf ? FDEVENT_IN | FDEVENT_OUT : FDEVENT_IN;
}

void Service::watch_for_room() {
    for (const auto& line : lines_)
        if (line->node) fdevent_fdnode_event_set(srv_->ev, line->node, wanted_events(*line));
}

// --- waiting ---

bool Service::enqueue(Pending& pending) {
    if (backlog_.full()) return false;
    pending.place = backlog_.append(&pending, pending.since);
    pending.apply(HandoffEvent::queue_full);
    ++statistics_[Statistics::waited];
    statistics_[Statistics::waiting] = int(backlog_.size());
    // So that a client that leaves is noticed. (lighttpd keeps this interest.)
    fdevent_fdnode_event_add(srv_->ev, pending.request->con->fdn, FDEVENT_RDHUP);
    watch_for_room();
    return true;
}

void Service::forget(Pending& pending) {
    switch (pending.state()) {
        case HandoffState::waiting:
            leave_backlog(pending);
            watch_for_room();
            break;
        case HandoffState::deferred:
            std::erase(put_off_, &pending);
            break;
        case HandoffState::kept:
        case HandoffState::lost:
            recovery_.forget(pending);
            break;
        case HandoffState::acknowledged:
            leaving_.erase(pending.untaken.id);
            break;
        default:
            break;
    }
}

void Service::leave_backlog(Pending& pending) {
    backlog_.remove(pending.place);
    statistics_[Statistics::waiting] = int(backlog_.size());
}

// Sends those who wait, in their order; lighttpd then lets each connection go.
void Service::on_writable() {
    send_lost();
    while (!recovery_.first_lost() && !backlog_.empty()) {
        Pending& pending = *backlog_.first();
        const Outcome outcome = send_pending(pending);
        if (outcome == Outcome::full) break;
        leave_backlog(pending);
        if (outcome == Outcome::held) {
            hold(pending);
        } else if (outcome == Outcome::sent) {
            returned_.forget(pending.request->con);  // it may come back in this turn
            pending.apply(HandoffEvent::sent);
        } else {
            pending.status = outcome == Outcome::unreadable ? 500 : 413;
            pending.apply(HandoffEvent::refuse);
        }
        joblist_append(pending.request->con);
    }
    watch_for_room();
}

void Service::refuse_late() {
    while (Pending* const pending = backlog_.late(log_monotonic_secs)) refuse_waiting(*pending);
    watch_for_room();
}

void Service::refuse_waiting(Pending& pending) {
    leave_backlog(pending);
    pending.status = 503;
    pending.apply(HandoffEvent::refuse);
    joblist_append(pending.request->con);
}

// --- workers ---

void Service::worker_started(pid_t) {
    ++statistics_[Statistics::started];
    ++statistics_[Statistics::workers];
    health_.started();
}

void Service::worker_ended(pid_t pid, int status, int64_t ran) {
    ++statistics_[Statistics::died];
    --statistics_[Statistics::workers];
    deferred_log_.worker_ended(pid);
    health_.ended(status, ran, has_received());
    for (const auto& line : lines_) look_after(*line, true);
    if (down()) return refuse_all();
    on_writable();
}

void Service::worker_failed() {
    ++statistics_[Statistics::failed];
    health_.failed();
    if (down()) refuse_all();
}

// Whether workers have received anything since the last call.
bool Service::has_received() {
    const Line& line = *lines_.front();
    const std::optional<uint64_t> first = line.node ? line.channel.first_id() : std::nullopt;
    const uint64_t unreceived = first.value_or(last_sent_ + 1);
    return std::exchange(first_unreceived_, unreceived) < unreceived;
}

void Service::workers_forgotten() {
    statistics_[Statistics::workers] = 0;
    health_.forget();
    // The end of those among them who die now will not be told.
    for (const auto& line : lines_) look_after(*line, true);
}

bool Service::reopen() {
    if (!settings_.spawned() || lines_.front()->node) return false;
    Line& line = *lines_.front();
    line.channel = Channel::create(int(settings_.queue_bytes));
    if (line.channel.open() && line.channel.fd() < srv_->max_fds) {
        watch(line);
        health_ = {};  // workers ended because their queue had
    } else {
        line.channel.close();
    }
    return line.node;
}

// What became of hand-offs through this line whose answer has not begun?
void Service::look_after(Line& line, bool death) {
    const bool open = line.node != nullptr;
    const Recovery::Verdicts verdicts =
        recovery_.look(line.index, {.broken = !open,
                                    .empty = open && line.channel.queued_bytes() == 0,
                                    .death = death,
                                    .now = log_monotonic_secs});
    // Now that they are seen to be dead, all that they have said is in the queue; it comes first.
    // If it is too much for one turn, the next look, within a second, finds the rest.
    if (verdicts.empty() || !read_replies(line)) return;
    recovery_.carry_out(verdicts);
    // Connections that dead workers would have returned in the next moment.
    while (Pending* const complete = recovery_.take_complete()) {
        const std::string data = std::move(complete->data);
        go_on(*complete, bytes(data).subspan(complete->head_length), true);
    }
}

// The connection is lighttpd's again.
void Service::go_on(Pending& pending, std::span<const uint8_t> unread, bool answered) {
    pending.apply(HandoffEvent::give_back);
    const Answer answer = pending.answer.value_or(Answer{});
    if (answered) lighty::set_logged_response(pending.request, status_of(answer), answer.bytes);
    ++statistics_[Statistics::returned];
    connection* const con = pending.request->con;
    // As lighttpd does after an answer of its own: try to read before asking for events.
    if (pending.client_spoke || !awaits_client(con)) con->is_readable = 1;
    resume(pending.request, unread, answered);
    // Until lighttpd comes to the connection, in this turn, and sets it: its clock may leap before
    // that, and it looks for idle clients.
    con->read_idle_ts = log_monotonic_secs + settings_.taken_timeout;
}

void Service::trigger() {
    for (const auto& line : lines_) {
        if (line->deaf && read_replies(*line)) line->silent = true;
        if (line->silent) lose(*line);
        if (!line->node && !settings_.spawned()) connect(*line);
        look_after(*line, false);
        settle_received(*line);
        take_back_late(*line);
    }
    starved_ = false;
    refuse_late();
    if (busy()) on_writable();
    recovery_.trigger(log_monotonic_secs, lighty::is_stopping(srv_));
    in_vain_.trigger(log_monotonic_secs);
    deferred_log_.trigger();
    if (lighty::is_stopping(srv_)) flush_log();
    statistics_[Statistics::unlogged] = int(deferred_log_.size());
}

}  // namespace fd_transfer
