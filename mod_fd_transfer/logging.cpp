// SPDX-License-Identifier: BSD-3-Clause
// What the access log shows of a service's requests: one line each, with what the client got.
#include <utility>

#include "lighty/compat.h"
#include "mod_fd_transfer/service.h"

namespace fd_transfer {
namespace {

constexpr int client_closed_request = 499;  // as nginx counts them; not of HTTP
// So many more entries before it is looked again which were received: few, so that they stay in the
// processor's cache, and not each time, since a look is a system call.
constexpr size_t unsettled_more = 8;

bool has_written(const Untaken& handoff) {
    return bytes_written(handoff.socket) != handoff.before.written;
}

}  // namespace

// Whether its worker will say how the answer ends.
bool Service::will_be_told(const Pending& pending) const {
    const Line& line = *lines_[pending.untaken.channel];
    return line.says_done && !line.says_nothing && !deferred_log_.full() &&
           !lighty::is_stopping(srv_);
}

// Whoever receives it says nothing. But somebody must receive it: until then it may have to be
// answered 503.
void Service::log_sent(request_st* r, const Untaken& sent, int64_t since) {
    Line& line = *lines_[sent.channel];
    if (line.sent.size() >= line.settle_at) {
        settle_received(line);
        line.settle_at = line.sent.size() + unsettled_more;
    }
    const bool later = settings_.spawned() && !lighty::is_stopping(srv_) &&
                       line.sent.size() < size_t(settings_.max_unlogged);
    lighty::LogEntry entry;
    if (later)
        entry = log_entries_.take(r);
    else
        lighty::set_logged_response(r, int(settings_.log_status), 0);
    if (settings_.spawned()) line.sent.emplace(sent.id, Sent{since, std::move(entry)});
}

// Nothing if it was logged when it was sent.
void Service::write_log(Sent& sent, int status, uint64_t bytes) {
    if (sent.log_entry) sent.log_entry.write(status, bytes);
}

void Service::log_leaving(const Pending& pending) {
    request_st* const r = pending.request;
    if (pending.untaken.keeper == 0) return log_sent(r, pending.untaken, pending.since);
    if (pending.answer)
        lighty::set_logged_response(r, status_of(*pending.answer), pending.answer->bytes);
    else if (will_be_told(pending))
        defer_log(pending, int(settings_.log_status));
    else
        lighty::set_logged_response(r, int(settings_.log_status), 0);
}

void Service::log_abandoned(Pending& pending) {
    request_st* const r = pending.request;
    switch (pending.state()) {
        case HandoffState::deferred:
        case HandoffState::waiting:
        case HandoffState::lost:
            return log_entries_.take(r).write(client_closed_request, 0);
        case HandoffState::kept: {
            const int status = has_written(pending.untaken) ? int(settings_.log_status)
                                                            : client_closed_request;
            pending.worker = owner_of(pending.untaken);
            if (is_claimed(pending.untaken) && will_be_told(pending))
                return defer_log(pending, status);
            return log_entries_.take(r).write(status, 0);
        }
        case HandoffState::acknowledged:
            return log_entries_.take(r).write(status_of(pending.answer.value_or(Answer{})),
                                              pending.answer.value_or(Answer{}).bytes);
        default:
            return;  // lighttpd has logged it, or will
    }
}

void Service::defer_log(const Pending& pending, int status) {
    deferred_log_.add(pending.untaken.id, pending.worker, status,
                      log_entries_.take(pending.request));
    statistics_[Statistics::unlogged] = int(deferred_log_.size());
}

void Service::flush_log() {
    deferred_log_.flush();
    for (const auto& line : lines_) {
        for (auto& [id, sent] : line->sent) write_log(sent, int(settings_.log_status), 0);
    }
}

}  // namespace fd_transfer
