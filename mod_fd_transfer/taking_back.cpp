// SPDX-License-Identifier: BSD-3-Clause
// What lies in the queue and no worker receives in time: lighttpd receives it itself, from the
// queue's other end. So each request is a worker's or lighttpd's, and never both.
#include "lighty/compat.h"
#include "mod_fd_transfer/handoff.h"
#include "mod_fd_transfer/service.h"

namespace fd_transfer {

// Requests before the first one in the queue have been received, since the queue keeps the order.
void Service::settle_received(Line& line) {
    if (line.sent.empty()) return;
    const std::optional<uint64_t> first = line.node ? line.channel.first_id() : std::nullopt;
    while (!line.sent.empty() && (!first || line.sent.begin()->first < *first)) {
        write_log(line.sent.begin()->second, int(settings_.log_status), 0);
        line.sent.erase(line.sent.begin());
    }
}

// Of what we know nothing the client has left, or it was refused before.
bool Service::is_late(const Line& line, uint64_t id) const {
    const auto sent = line.sent.find(id);
    const std::optional<int64_t> since =
        sent != line.sent.end() ? sent->second.since : recovery_.since(id);
    return !since || *since + settings_.deadline <= log_monotonic_secs;
}

void Service::take_back_late(Line& line) {
    // Of external workers the other end is not ours. When the server stops, workers finish the queue.
    if (!settings_.spawned() || lighty::is_stopping(srv_)) return;
    while (line.node) {
        const std::optional<uint64_t> first = line.channel.first_id();
        if (!first || !is_late(line, *first) || !take_back_first(line, true)) return;
    }
}

void Service::take_back_all(Line& line, bool refuse_kept) {
    while (take_back_first(line, refuse_kept)) {
    }
}

// False if there was nothing.
bool Service::take_back_first(Line& line, bool refuse_kept) {
    settle_received(line);
    static uint8_t buffer[process::handoff_message_max];
    process::ReceivedMessage message;
    const process::PassingError error = line.channel.take_first(buffer, message);
    if (error != process::PassingError::none && error != process::PassingError::truncated_fds)
        return false;
    // Without a free descriptor for the client's socket there is nothing to answer on.
    process::HandoffReader reader({buffer, message.size}, process::handoff_fds_needed(
                                                              {buffer, message.size}));
    process::HandoffRecord record;
    while (!reader.done() && reader.next(record) == process::HandoffError::none)
        give_up(line, record, process::FileDescriptor(message.fds.release(reader.first_fd())),
                refuse_kept);
    return true;
}

// No worker has it, and none can receive it any more.
void Service::give_up(Line& line, const process::HandoffRecord& record,
                      process::FileDescriptor client, bool refuse_kept) {
    if (recovery_.keeps(record.id)) {
        if (refuse_kept) recovery_.refuse(*recovery_.hear_of(record.id), 503);
        return;
    }
    const auto sent = line.sent.find(record.id);
    if (sent == line.sent.end()) return;
    ++statistics_[Statistics::refused];
    const uint64_t bytes =
        client ? returned_.refuse(srv_, record.socket_index, settings_.retry_after,
                                  std::move(client))
               : 0;
    write_log(sent->second, 503, bytes);
    line.sent.erase(sent);
}

// No worker lives.
void Service::refuse_all() {
    for (const auto& line : lines_)
        if (line->node) take_back_all(*line, true);
    while (Pending* const waiting = backlog_.first()) refuse_waiting(*waiting);
    while (Pending* const lost = recovery_.take_lost()) recovery_.refuse(*lost, 503);
    watch_for_room();
}

}  // namespace fd_transfer
