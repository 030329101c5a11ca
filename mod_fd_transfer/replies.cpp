// SPDX-License-Identifier: BSD-3-Clause
// What workers say: hello, taken, return. They may say anything; lighttpd must live.
#include <errno.h>

#include "mod_fd_transfer/service.h"

namespace fd_transfer {
namespace {

constexpr int most_replies_at_once = 256;  // then other connections have their turn

// A worker that ends returns what it has not begun; several may, one after the other.
constexpr unsigned most_returns_in_vain = 3;

uint8_t buffer[process::handoff_message_max];

}  // namespace

handler_t Service::on_event(void* context, int events) {
    Line& line = *static_cast<Line*>(context);
    Service& service = *line.service;
    service.read_replies(line);
    if ((events & (FDEVENT_HUP | FDEVENT_ERR)) && !(events & FDEVENT_IN)) line.silent = true;
    if (line.silent) service.lose(line);
    if (line.node && (events & FDEVENT_OUT)) service.on_writable();
    return HANDLER_FINISHED;
}

// Whether these were all.
bool Service::read_replies(Line& line) {
    for (int i = 0; i < most_replies_at_once; ++i)
        if (!line.node || !read_reply(line)) return true;
    return false;
}

// False if there is none now.
bool Service::read_reply(Line& line) {
    process::ReceivedMessage received;
    switch (const process::PassingError error =
                process::receive_message(line.channel.fd(), buffer, received)) {
        case process::PassingError::none:
            take_replies(line, received, received.fds.count());
            return true;
        case process::PassingError::would_block:
            return false;
        case process::PassingError::peer_closed:
            // Our own queue does not close while we hold its other end: somebody sent nothing, if
            // nobody has shut it down.
            if (settings_.spawned() && !line.channel.shut_down()) {
                reject("the message is empty", received.sender);
                return true;
            }
            line.silent = true;
            return false;
        case process::PassingError::system:
            reject("the queue cannot be read", 0);
            return false;
        case process::PassingError::truncated_fds:
            // What is said without the lost ones is true all the same, and may need none.
            if (const size_t needed = process::handoff_fds_needed({buffer, received.size});
                needed >= received.fds.count()) {
                take_replies(line, received, needed);
                return true;
            }
            [[fallthrough]];
        default:
            reject(process::passing_error_text(error), received.sender);
            return true;
    }
}

void Service::take_replies(Line& line, process::ReceivedMessage& received, size_t fd_count) {
    process::HandoffReader reader({buffer, received.size}, fd_count);
    do {
        process::HandoffRecord record;
        const process::HandoffError error = reader.next(record);
        if (error != process::HandoffError::none)
            return reject(process::handoff_error_text(error), received.sender);
        take_reply(line, record, reader, received);
    } while (!reader.done());
}

void Service::take_reply(Line& line, const process::HandoffRecord& record,
                         const process::HandoffReader& reader, process::ReceivedMessage& received) {
    switch (record.kind) {
        case process::HandoffKind::hello:
            // Of a worker in another pid namespace we could not see whether it lives.
            if (received.sender > 0) line.fuller = true;
            (record.takes_batches() ? line.batches : line.singles) = true;
            break;
        case process::HandoffKind::taken:
            ++statistics_[Statistics::taken];
            if (Pending* const pending = recovery_.hear_of(record.id)) recovery_.let_go(*pending);
            break;
        case process::HandoffKind::return_socket:
            if (const char* const fault = take_back(record, reader, received.fds))
                reject(fault, received.sender);
            break;
        default:
            reject("the record is of a kind that only the server sends", received.sender);
    }
}

// What is wrong with it, or nullptr.
const char* Service::take_back(const process::HandoffRecord& record,
                               const process::HandoffReader& reader, process::ReceivedFds& fds) {
    const size_t socket = reader.first_fd();
    std::span<const uint8_t> unread = reader.data();
    std::string from_memfd;
    if (record.in_memfd()) {
        from_memfd.resize(size_t(record.data_length));
        if (pread(fds[socket + 1], from_memfd.data(), from_memfd.size(), 0) !=
            ssize_t(from_memfd.size()))
            return "the memfd holds less than the record says";
        unread = {reinterpret_cast<const uint8_t*>(from_memfd.data()), from_memfd.size()};
    }
    // If we still have the connection, our descriptor is as good and needs no questions.
    if (Pending* const own = recovery_.hear_of(record.id)) {
        if (!goes_round(*own, unread)) {
            go_on(*own, unread);
            return nullptr;
        }
        recovery_.refuse(*own);
        return "a request came back unanswered again and again (do the workers know this prefix?); "
               "it is answered 502";
    }
    if (record.without_socket())
        return "the connection came back without its socket, and is not kept here";
    process::FileDescriptor client(fds.release(socket));
    if (!client) return process::passing_error_text(process::PassingError::truncated_fds);
    const char* const fault = returned_.adopt(srv_, record.socket_index, unread, std::move(client));
    if (!fault) ++statistics_[Statistics::returned];
    return fault;
}

// Whether a request is returned unanswered by whoever gets it.
bool Service::goes_round(const Pending& pending, std::span<const uint8_t> unread) {
    const connection* const con = pending.request->con;
    const std::optional<Progress> progress = unread.empty() ? std::nullopt : progress_of(con->fd);
    if (progress && progress->written == pending.untaken.before.written)
        return returned_.came_back_in_vain(con, progress->written) > most_returns_in_vain;
    return false;
}

// One line a second at most: a worker that sends rubbish does not send it once.
void Service::reject(const char* fault, pid_t sender) {
    ++statistics_[Statistics::rejected];
    if (last_rejection_ == log_monotonic_secs) return;
    last_rejection_ = log_monotonic_secs;
    log_error(srv_->errh, __FILE__, __LINE__,
              "fd-transfer.server \"%s\": refused what worker %d sent: %s (%d refused so far)",
              settings_.prefix.c_str(), int(sender), fault, statistics_[Statistics::rejected]);
}

// The workers have closed a connection of theirs, or the queue that all share.
void Service::lose(Line& line) {
    if (settings_.spawned()) {
        log_error(srv_->errh, __FILE__, __LINE__,
                  "fd-transfer.server \"%s\": a worker has shut the queue down, with shutdown(2); "
                  "starting all workers of all services anew",
                  settings_.prefix.c_str());
        line.channel.take_back();  // it is sent again, and must not be received twice
        hang_up(line);
        return look_after(line, true);  // trigger() does the rest
    }
    log_error(srv_->errh, __FILE__, __LINE__,
              "fd-transfer.server \"%s\": the worker at \"socket\" => \"%s\" has closed the queue; "
              "connecting again",
              settings_.prefix.c_str(), settings_.socket.c_str());
    hang_up(line);
    ++statistics_[Statistics::died];
    --statistics_[Statistics::workers];
    look_after(line, true);
    // At once, if this does not go round in circles.
    if (line.since < log_monotonic_secs) connect(line);
    on_writable();
}

}  // namespace fd_transfer
