// SPDX-License-Identifier: BSD-3-Clause
// A service: its queue in lighttpd's event loop, and the requests that wait for room in it.
// What its workers say is read in replies.cpp.
#include "mod_fd_transfer/service.h"

#include <errno.h>
#include <string.h>

#include <algorithm>

#include "lighty/compat.h"
#include "mod_fd_transfer/handoff.h"

namespace fd_transfer {
namespace {

// Of all services: an id stays unique even if a request is sent again.
uint64_t next_id = 1;

bool repeatable(const request_st* r) {
    return (r->http_method == HTTP_METHOD_GET || r->http_method == HTTP_METHOD_HEAD) &&
           r->reqbody_length == 0;
}

process::HandoffRecord record_of(const connection* con, Stage stage, size_t head_length,
                                 bool hold) {
    return {.kind = process::HandoffKind::request,
            .flags = uint16_t((stage == Stage::raw ? process::handoff_raw_stage : 0) |
                              (hold ? process::handoff_wants_taken : 0)),
            .id = next_id,
            .socket_index = socket_index(con),
            .head_length = uint32_t(head_length)};
}

// The hand-off that is about to be made.
Untaken untaken_of(const request_st* r, size_t channel) {
    const connection* const con = r->con;
    claim_for_server(con->fd);
    Untaken untaken = {.id = next_id,
                       .socket = con->fd,
                       .before = {0, uint64_t(con->read_queue->bytes_in)},
                       .repeatable = repeatable(r),
                       .since = log_monotonic_secs,
                       .channel = channel};
    // Of a fresh connection we know what it has done without asking the kernel.
    if (con->request_count > 1)
        untaken.before = progress_of(con->fd, untaken.before.consumed).value_or(Progress{});
    return untaken;
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
      recovery_(settings_, statistics_, returned_) {}

Service::~Service() {
    for (const auto& line : lines_) hang_up(*line);
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

bool Service::keeps_connections() const {
    const auto keeps = [this](const auto& line) { return line->node && wants_taken(*line); };
    return recovery_.has_room() && std::any_of(lines_.begin(), lines_.end(), keeps);
}

bool Service::send_record(const Line& line, std::span<const uint8_t> data,
                          const process::HandoffRecord& record, int client) {
    const process::PassingError error = line.channel.send(record, data, client);
    if (error != process::PassingError::none) {
        if (error == process::PassingError::no_resources || error == process::PassingError::system)
            starve();
        return false;
    }
    ++next_id;
    ++statistics_[Statistics::handed_over];
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

Service::Outcome Service::send(const request_st* r, std::span<const uint8_t> data,
                               size_t head_length, Untaken& untaken) {
    if (int64_t(data.size()) > settings_.max_record) return Outcome::too_big;
    if (start_) std::exchange(start_, nullptr)();
    for (size_t tried = 0; tried < lines_.size(); ++tried) {
        const Line& line = next_line();
        if (!line.node) continue;
        const bool hold = wants_taken(line) && recovery_.has_room();
        if (hold) untaken = untaken_of(r, line.index);
        if (send_record(line, data, record_of(r->con, settings_.stage, head_length, hold),
                        r->con->fd))
            return hold ? Outcome::held : Outcome::sent;
    }
    return Outcome::full;
}

bool Service::send_again(Pending& lost) {
    const Line& line = next_line();
    const connection* const con = lost.request->con;
    const process::HandoffRecord record = record_of(con, settings_.stage, lost.head_length, true);
    claim_for_server(con->fd);
    if (!line.node || !send_record(line, bytes(lost.data), record, con->fd)) return false;
    lost.untaken.id = record.id;
    lost.untaken.channel = line.index;
    lost.untaken.orphaned = false;
    lost.untaken.missing_since.reset();
    lost.untaken.answering_since.reset();
    return true;
}

// Requests whose worker has died go before all others: they have waited longest.
void Service::send_lost() {
    while (Pending* const lost = recovery_.first_lost()) {
        if (!send_again(*lost)) return;
        ++statistics_[Statistics::repeated];
        hold(*lost);
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
    switch (pending.state) {
        case Pending::State::waiting:
            backlog_.remove(pending.place);
            pending.state = Pending::State::claimed;
            statistics_[Statistics::waiting] = int(backlog_.size());
            watch_for_room();
            break;
        case Pending::State::held:
        case Pending::State::lost:
            recovery_.forget(pending);
            break;
        default:
            break;
    }
}

// Sends those who wait, in their order; lighttpd then lets each connection go.
void Service::on_writable() {
    send_lost();
    while (!recovery_.first_lost() && !backlog_.empty()) {
        Pending& pending = *backlog_.first();
        const Outcome outcome = send_pending(pending);
        if (outcome == Outcome::full) break;
        forget(pending);
        if (outcome == Outcome::sent) {
            recovery_.let_go(pending);
            continue;
        }
        if (outcome == Outcome::held) {
            hold(pending);
        } else {
            pending.state = Pending::State::refused;
            pending.status = 413;
        }
        joblist_append(pending.request->con);
    }
    watch_for_room();
}

void Service::refuse_late() {
    while (Pending* const pending = backlog_.late(log_monotonic_secs)) {
        forget(*pending);
        pending->state = Pending::State::refused;
        pending->status = 503;
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
    // Connections that dead workers would have returned in the next moment.
    while (Pending* const complete = recovery_.take_complete()) {
        const std::string data = std::move(complete->data);
        go_on(*complete, bytes(data).subspan(complete->head_length));
    }
}

// The worker has answered: the connection is lighttpd's again.
void Service::go_on(Pending& pending, std::span<const uint8_t> unread) {
    pending.state = Pending::State::returned;
    if (!pending.settled) pending.request->http_status = int(settings_.log_status);
    ++statistics_[Statistics::returned];
    connection* const con = pending.request->con;
    // As lighttpd does after an answer of its own: try to read before asking for events.
    if (pending.client_spoke || !awaits_client(con)) con->is_readable = 1;
    resume(pending.request, unread);
    returned_.remember(con);
}

void Service::trigger() {
    for (const auto& line : lines_) {
        if (!line->node) connect(*line);
        look_after(*line, false);
    }
    starved_ = false;
    if (busy()) on_writable();
    refuse_late();
    recovery_.trigger(log_monotonic_secs, lighty::is_stopping(srv_));
}

}  // namespace fd_transfer
