// SPDX-License-Identifier: BSD-3-Clause
// A service: its queue in lighttpd's event loop, and the requests that wait for room in it.
// What its workers say is read in replies.cpp.
#include "mod_fd_transfer/service.h"

#include <errno.h>
#include <string.h>

#include "mod_fd_transfer/handoff.h"

namespace fd_transfer {
namespace {

// Of all services: an id stays unique even if a request is sent again.
uint64_t next_id = 1;

bool repeatable(const request_st* r) {
    return (r->http_method == HTTP_METHOD_GET || r->http_method == HTTP_METHOD_HEAD) &&
           r->reqbody_length == 0;
}

std::string_view text(std::span<const uint8_t> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::span<const uint8_t> bytes(std::string_view text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

}  // namespace

Service::Service(Settings settings, server* srv, ReturnedConnections& returned)
    : settings_(std::move(settings)),
      srv_(srv),
      returned_(returned),
      statistics_(settings_.prefix),
      backlog_(size_t(settings_.backlog), settings_.deadline),
      recovery_(settings_, statistics_) {}

Service::~Service() {
    for (const auto& line : lines_) hang_up(*line);
    srv_->cur_fds -= counted_fds_;
}

// --- the queue ---

bool Service::open() {
    const size_t count = settings_.spawned() ? 1 : size_t(settings_.workers);
    for (size_t i = 0; i < count; ++i) {
        lines_.push_back(std::make_unique<Line>(Line{this, i, {}, nullptr, false, true}));
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
    line.node = fdevent_register(srv_->ev, line.channel.fd(), on_event, &line);
    fdevent_fdnode_event_set(srv_->ev, line.node, wanted_events());
    ++srv_->cur_fds;
}

void Service::hang_up(Line& line) {
    if (!line.node) return;
    fdevent_fdnode_event_del(srv_->ev, line.node);
    fdevent_unregister(srv_->ev, line.node);
    line.node = nullptr;
    line.channel.close();
    line.fuller = false;
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

int Service::wanted_events() const {
    return busy() && !starved_ ? FDEVENT_IN | FDEVENT_OUT : FDEVENT_IN;
}

void Service::watch_for_room() {
    for (const auto& line : lines_)
        if (line->node) fdevent_fdnode_event_set(srv_->ev, line->node, wanted_events());
}

// --- sending ---

bool Service::wants_taken(const Line& line) const {
    if (settings_.protection == Protection::never) return false;
    return line.fuller || (settings_.protection == Protection::always && settings_.spawned());
}

Untaken Service::duplicate(const request_st* r, std::span<const uint8_t> data,
                           size_t head_length) const {
    const connection* const con = r->con;
    Untaken untaken = {.socket = duplicate_as_owner(con->fd),
                       .before = {0, uint64_t(con->read_queue->bytes_in)},
                       .repeat = {{}, head_length, socket_index(con)},
                       .since = log_monotonic_secs};
    // Of a fresh connection we know what it has done without asking the kernel.
    if (con->request_count > 1 && untaken.socket)
        untaken.before = progress_of(con->fd).value_or(Progress{});
    if (repeatable(r)) untaken.repeat.data = text(data);
    return untaken;
}

// `untaken`: the hand-off's duplicate, moved from if it has been sent; nullptr: none is kept.
bool Service::send_record(Line& line, std::span<const uint8_t> data,
                          const process::HandoffRecord& record, int client, Untaken* untaken) {
    const process::PassingError error = line.channel.send(record, data, client);
    if (error != process::PassingError::none) {
        if (error == process::PassingError::no_resources || error == process::PassingError::system)
            starve();
        return false;
    }
    ++next_id;
    ++statistics_[Statistics::handed_over];
    if (untaken) {
        untaken->channel = line.index;
        recovery_.keep(record.id, std::move(*untaken));
    }
    return true;
}

// One line a second at most, like the attempts.
void Service::starve() {
    if (!starved_)
        log_perror(srv_->errh, __FILE__, __LINE__,
                   "fd-transfer.server \"%s\": the kernel refuses to pass the socket on; requests "
                   "wait, trying again each second",
                   settings_.prefix.c_str());
    starved_ = true;
}

Service::Outcome Service::send(request_st* r, std::span<const uint8_t> data, size_t head_length) {
    if (int64_t(data.size()) > settings_.max_record) return Outcome::too_big;
    if (start_) std::exchange(start_, nullptr)();
    process::HandoffRecord record = {
        .kind = process::HandoffKind::request,
        .flags = settings_.stage == Stage::raw ? process::handoff_raw_stage : uint16_t(0),
        .id = next_id,
        .socket_index = socket_index(r->con),
        .head_length = uint32_t(head_length)};
    for (size_t tried = 0; tried < lines_.size(); ++tried) {
        Line& line = *lines_[next_line_++ % lines_.size()];
        if (!line.node) continue;
        Untaken untaken;
        if (wants_taken(line) && recovery_.has_room()) untaken = duplicate(r, data, head_length);
        const bool kept = bool(untaken.socket);
        if (kept) record.flags |= process::handoff_wants_taken;
        if (send_record(line, data, record, r->con->fd, kept ? &untaken : nullptr)) {
            account_fds();
            return Outcome::sent;
        }
        record.flags &= uint16_t(~process::handoff_wants_taken);
    }
    return Outcome::full;
}

// Requests whose worker has died go before all others: they have waited longest.
void Service::send_lost() {
    while (recovery_.has_lost()) {
        Untaken lost = recovery_.take_lost();
        const int client = lost.socket.get();
        const std::string data = lost.repeat.data;
        const process::HandoffRecord record = {
            .kind = process::HandoffKind::request,
            .flags = uint16_t(process::handoff_wants_taken |
                              (settings_.stage == Stage::raw ? process::handoff_raw_stage : 0)),
            .id = next_id,
            .socket_index = lost.repeat.socket_index,
            .head_length = uint32_t(lost.repeat.head_length)};
        Line& line = *lines_[next_line_++ % lines_.size()];
        claim_for_server(client);
        lost.missing_since.reset();
        if (!line.node || !send_record(line, bytes(data), record, client, &lost)) {
            recovery_.put_back_lost(std::move(lost));
            return;
        }
        ++statistics_[Statistics::repeated];
    }
}

// --- waiting ---

bool Service::enqueue(Pending& pending) {
    if (backlog_.full()) return false;
    pending.place = backlog_.append(&pending, log_monotonic_secs);
    pending.state = Pending::State::waiting;
    ++statistics_[Statistics::waited];
    statistics_[Statistics::waiting] = int(backlog_.size());
    // So that a client that leaves is noticed. (lighttpd keeps this interest.)
    fdevent_fdnode_event_add(srv_->ev, pending.request->con->fdn, FDEVENT_RDHUP);
    watch_for_room();
    return true;
}

void Service::forget(Pending& pending) {
    if (pending.state != Pending::State::waiting) return;
    backlog_.remove(pending.place);
    pending.state = Pending::State::claimed;
    statistics_[Statistics::waiting] = int(backlog_.size());
    watch_for_room();
}

// Sends those who wait, in their order; lighttpd then lets each connection go.
void Service::on_writable() {
    send_lost();
    while (!recovery_.has_lost() && !backlog_.empty()) {
        Pending& pending = *backlog_.first();
        const Outcome outcome = send_pending(pending);
        if (outcome == Outcome::full) break;
        forget(pending);
        pending.state = outcome == Outcome::sent ? Pending::State::sent : Pending::State::refused;
        joblist_append(pending.request->con);
    }
    watch_for_room();
    account_fds();
}

void Service::refuse_late() {
    while (Pending* const pending = backlog_.late(log_monotonic_secs)) {
        forget(*pending);
        pending->state = Pending::State::refused;
        joblist_append(pending->request->con);
    }
}

// --- workers ---

void Service::worker_started(pid_t) {
    ++statistics_[Statistics::started];
    ++statistics_[Statistics::workers];
}

void Service::worker_ended(pid_t) {
    ++statistics_[Statistics::died];
    --statistics_[Statistics::workers];
    for (const auto& line : lines_) {
        while (line->node && read_reply(*line)) {
        }  // what the worker said while it lived comes first
        look_after(*line, true);
    }
    on_writable();
}

// What became of hand-offs through this line whose answer has not begun?
void Service::look_after(Line& line, bool death) {
    const bool open = line.node != nullptr;
    recovery_.look(line.index, {.broken = !open,
                                .empty = open && line.channel.queued_bytes() == 0,
                                .death = death,
                                .now = log_monotonic_secs});
    continue_complete();
}

// Connections that dead workers would have returned in the next moment.
void Service::continue_complete() {
    while (recovery_.has_complete()) {
        Untaken complete = recovery_.take_complete();
        const auto unread = bytes(complete.repeat.data).subspan(complete.repeat.head_length);
        const char* const fault = returned_.adopt_own(srv_, complete.repeat.socket_index, unread,
                                                      std::move(complete.socket));
        if (!fault) ++statistics_[Statistics::returned];
    }
}

void Service::trigger() {
    for (const auto& line : lines_) {
        if (!line->node) connect(*line);
        look_after(*line, false);
    }
    starved_ = false;
    if (busy()) on_writable();
    refuse_late();
    recovery_.trigger(log_monotonic_secs);
    account_fds();
}

void Service::account_fds() {
    srv_->cur_fds += recovery_.fds() - counted_fds_;
    counted_fds_ = recovery_.fds();
}

}  // namespace fd_transfer
