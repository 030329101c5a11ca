// SPDX-License-Identifier: BSD-3-Clause
// How a service's requests go out: one by one, those of a turn of the event loop together, and
// again if their worker has died.
#include <algorithm>
#include <utility>

#include "mod_fd_transfer/client_fields.h"
#include "mod_fd_transfer/handoff.h"
#include "mod_fd_transfer/service.h"

namespace fd_transfer {
namespace {

// Of all services: an id stays unique even if a request is sent again.
uint64_t next_id = 1;

bool repeatable(const request_st* r) {
    return (r->http_method == HTTP_METHOD_GET || r->http_method == HTTP_METHOD_HEAD) &&
           r->reqbody_length == 0;
}

process::HandoffRecord record_of(const connection* con, Stage stage, size_t head_length, bool hold,
                                 uint64_t id) {
    return {.kind = process::HandoffKind::request,
            .flags = uint16_t((stage == Stage::raw ? process::handoff_raw_stage : 0) |
                              (hold ? process::handoff_wants_taken : 0)),
            .id = id,
            .socket_index = socket_index(con),
            .head_length = uint32_t(head_length)};
}

// The hand-off that is about to be made.
Untaken untaken_of(const request_st* r, size_t channel, uint64_t id) {
    const connection* const con = r->con;
    return {
        .id = id,
        .keeper = claim_for_server(con->fd),
        .socket = con->fd,
        .before = progress_of(con->fd, uint64_t(con->read_queue->bytes_in)).value_or(Progress{}),
        .repeatable = repeatable(r),
        .since = log_monotonic_secs,
        .channel = channel};
}

}  // namespace

bool Service::wants_taken(const Line& line) const {
    if (settings_.protection == Protection::never) return false;
    return line.fuller || (settings_.protection == Protection::always && settings_.spawned());
}

bool Service::keeps(const connection* con) const {
    const auto keeps = [this](const auto& line) { return line->node && wants_taken(*line); };
    return con->srv_socket->addr.plain.sa_family != AF_UNIX && recovery_.has_room(1) &&
           std::any_of(lines_.begin(), lines_.end(), keeps);
}

bool Service::send_record(Line& line, request_st* r, std::span<const uint8_t> data,
                          const process::HandoffRecord& record) {
    process::FieldWriter fields;
    add_client_fields(r, fields);
    const process::PassingError error =
        line.channel.send(record, data, fields.fields(), r->con->fd);
    if (error != process::PassingError::none) {
        line.deaf = error == process::PassingError::peer_closed;
        if (error == process::PassingError::no_resources || error == process::PassingError::system)
            starve();
        return false;
    }
    ++statistics_[Statistics::handed_over];
    last_sent_ = record.id;
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

Service::Outcome Service::send(request_st* r, std::span<const uint8_t> data,
                               size_t head_length, Untaken& untaken) {
    if (int64_t(data.size()) > settings_.max_record) return Outcome::too_big;
    if (start_) std::exchange(start_, nullptr)();
    const bool keep = keeps(r->con);
    for (size_t tried = 0; tried < lines_.size(); ++tried) {
        Line& line = next_line();
        if (!line.node || line.deaf) continue;
        const bool hold = keep && wants_taken(line);
        const uint64_t id = next_id++;
        untaken = hold ? untaken_of(r, line.index, id) : Untaken{.id = id, .channel = line.index};
        if (send_record(line, r, data,
                        record_of(r->con, settings_.stage, head_length, hold, id)))
            return hold ? Outcome::held : Outcome::sent;
    }
    return Outcome::full;
}

bool Service::send_again(Pending& lost) {
    Line& line = next_line();
    const connection* const con = lost.request->con;
    const process::HandoffRecord record =
        record_of(con, settings_.stage, lost.head_length, true, next_id++);
    lost.untaken.keeper = claim_for_server(con->fd);
    if (!line.node || line.deaf || !send_record(line, lost.request, bytes(lost.data), record))
        return false;
    lost.untaken.id = record.id;
    lost.untaken.channel = line.index;
    lost.untaken.received = lost.untaken.orphaned = false;
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

// --- together ---

// What may not be repeated must not share the fate of others: if it is in no worker's hand, the
// queue keeps it, whoever dies. What has come back was perhaps one too many of those that came
// together.
void Service::put_off(Pending& pending) {
    pending.apply(HandoffEvent::defer);
    const bool came_back =
        !in_vain_.empty() && in_vain_.contains(identity_of(pending.request->con->fd));
    if (repeatable(pending.request) && !came_back) put_off_.push_back(&pending);
}

// Each worker gets its share: what one has received, the others cannot take.
void Service::send_put_off() {
    std::span<Pending* const> rest(put_off_);
    const size_t share = (rest.size() + size_t(settings_.workers) - 1) / size_t(settings_.workers);
    if (share > 1 && !busy())
        while (!rest.empty()) {
            const size_t done = send_together(rest.first(std::min(share, rest.size())));
            if (done == 0) break;
            rest = rest.subspan(done);
        }
    put_off_.clear();
}

// How many of them are done with, from the first on; 0: no more can be sent together now.
size_t Service::send_together(std::span<Pending* const> requests) {
    const Line& line = next_line();
    if (!line.node || line.deaf || !line.batches || line.singles || !wants_taken(line)) return 0;
    Batch batch;
    for (Pending* const pending : requests)
        if (!recovery_.has_room(batch.size() + 1) || !add(batch, line, *pending)) break;
    if (batch.size() == 0) return 1;  // it goes out by itself
    const bool sent = batch.send(line.channel) == process::PassingError::none;
    for (Pending* const pending : requests.first(batch.size())) {
        after_attempt(*pending, sent);
        if (!sent) continue;
        ++statistics_[Statistics::handed_over];
        last_sent_ = pending->untaken.id;
        hold(*pending);
    }
    return sent ? batch.size() : 0;
}

bool Service::add(Batch& batch, const Line& line, Pending& pending) {
    const connection* const con = pending.request->con;
    const uint64_t id = next_id++;
    pending.untaken = untaken_of(pending.request, line.index, id);
    process::FieldWriter fields;
    add_client_fields(pending.request, fields);
    const bool fits = gather(pending) && int64_t(pending.data.size()) <= settings_.max_record &&
                      batch.add(record_of(con, settings_.stage, pending.head_length, true, id),
                                bytes(pending.data), fields.fields(), con->fd);
    if (!fits) after_attempt(pending, false);
    return fits;
}

}  // namespace fd_transfer
