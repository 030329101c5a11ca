// SPDX-License-Identifier: BSD-3-Clause
// What workers say: hello, taken, return. They may say anything; lighttpd must live.
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <string_view>

#include "mod_fd_transfer/service.h"
#include "process/handoff_fields.h"

namespace fd_transfer {
namespace {

constexpr int most_replies_at_once = 256;  // then other connections have their turn

// A worker that ends, or is short of descriptors, returns what it has not begun. Each of them may,
// and then some more.
constexpr unsigned more_returns_than_workers = 2;

constexpr const char* goes_round_text =
    "a request came back unanswered again and again (do the workers know this prefix?); it ends "
    "here";

uint8_t buffer[process::handoff_message_max];

// What is wrong with it, or nullptr. Other files might take their time to be read.
const char* read_memfd(int memfd, uint64_t size, std::string& data) {
    if (memfd < 0) return process::passing_error_text(process::PassingError::truncated_fds);
    if (fcntl(memfd, F_GET_SEALS) < 0) return "the second file is no memfd";
    data.resize(size_t(size));
    return pread(memfd, data.data(), data.size(), 0) == ssize_t(data.size())
               ? nullptr
               : "the memfd holds less than the record says";
}

Answer answer_in(std::span<const uint8_t> fields) {
    Answer answer;
    process::FieldReader reader(fields);
    while (const auto field = reader.next()) {
        if (field->type == process::HandoffField::status)
            answer.status = int(std::min<uint64_t>(field->number().value_or(0), 999));
        else if (field->type == process::HandoffField::bytes)
            answer.bytes = std::min<uint64_t>(field->number().value_or(0), INT64_MAX / 2);
    }
    return answer;
}

bool has_written(int socket, const Progress& before) {
    const std::optional<Progress> progress = progress_of(socket);
    return progress && progress->written != before.written;
}

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
            on_hello(line, record, received.sender);
            break;
        case process::HandoffKind::taken:
            on_taken(record.id, received.sender);
            break;
        case process::HandoffKind::done:
            on_done(record.id, received.sender, answer_in(reader.fields()));
            break;
        case process::HandoffKind::return_socket:
            if (const char* const fault = accept_returned(record, reader, received.fds))
                reject(fault, received.sender);
            break;
        default:
            reject("the record is of a kind that only the server sends", received.sender);
    }
}

void Service::on_hello(Line& line, const process::HandoffRecord& record, pid_t sender) {
    // Of a worker in another pid namespace we could not see whether it lives.
    if (sender > 0) line.fuller = true;
    (record.takes_batches() ? line.batches : line.singles) = true;
    (record.says_done() ? line.says_done : line.says_nothing) = true;
    line.worker = sender;
}

void Service::on_taken(uint64_t id, pid_t sender) {
    ++statistics_[Statistics::taken];
    Pending* const pending = recovery_.hear_of(id);
    if (!pending) return;
    pending->worker = sender;
    recovery_.let_go(*pending);
    if (will_be_told(*pending)) leaving_.emplace(id, pending);
}

// A short answer is told with this alone; one that was taken before may be about to leave, or gone.
void Service::on_done(uint64_t id, pid_t sender, const Answer& answer) {
    if (Pending* const pending = recovery_.hear_of(id)) {
        ++statistics_[Statistics::taken];
        pending->worker = sender;
        pending->answer = answer;
        recovery_.let_go(*pending);
    } else if (const auto leaving = leaving_.find(id); leaving != leaving_.end()) {
        leaving->second->answer = answer;
        leaving_.erase(leaving);
    } else if (deferred_log_.done(id, answer)) {
        statistics_[Statistics::unlogged] = int(deferred_log_.size());
    }
}

// What is wrong with it, or nullptr. Of what a worker sends nothing is read before it is wanted.
const char* Service::accept_returned(const process::HandoffRecord& record,
                                     const process::HandoffReader& reader,
                                     process::ReceivedFds& fds) {
    const Answer answer = answer_in(reader.fields());
    // If we still have the connection, our descriptor is as good and needs no questions.
    const bool kept = recovery_.keeps(record.id);
    process::FileDescriptor client;
    if (!kept) {
        if (record.without_socket())
            return "the connection came back without its socket, and is not kept here";
        client = process::FileDescriptor(fds.release(reader.first_fd()));
        if (!client) return process::passing_error_text(process::PassingError::truncated_fds);
        if (const char* const fault = returned_.fault_of(srv_, record.socket_index, client.get()))
            return fault;
    }
    std::span<const uint8_t> unread = reader.data();
    std::string from_memfd;
    if (record.in_memfd()) {
        const size_t memfd = reader.first_fd() + 1;
        const char* const fault = record.data_length > uint64_t(settings_.max_record)
                                      ? "the unread bytes are more than \"max-record\""
                                      : read_memfd(fds[memfd], record.data_length, from_memfd);
        if (fault) {
            if (kept) recovery_.let_go(*recovery_.hear_of(record.id));
            return fault;
        }
        unread = bytes(from_memfd);
    }
    return kept ? accept_kept(*recovery_.hear_of(record.id), record, unread, answer)
                : adopt(record, unread, answer, std::move(client));
}

const char* Service::accept_kept(Pending& own, const process::HandoffRecord& record,
                                 std::span<const uint8_t> unread, const Answer& answer) {
    const int socket = own.request->con->fd;
    const bool answered = record.ends_connection() || unread.empty() ||
                          has_written(socket, own.untaken.before);
    if (!answered && goes_round(socket, unread)) {
        recovery_.refuse(own, 502);
        return goes_round_text;
    }
    if (answer.status) own.answer = answer;
    if (record.ends_connection()) own.request->keep_alive = 0;
    go_on(own, unread, answered);
    return nullptr;
}

const char* Service::adopt(const process::HandoffRecord& record, std::span<const uint8_t> unread,
                           const Answer& answer, process::FileDescriptor client) {
    const bool ends = record.ends_connection();
    const bool again = !unread.empty() && !ends && !answer.status;
    if (again && goes_round(client.get(), unread)) {
        on_done(record.id, 0,
                {503, returned_.refuse(srv_, record.socket_index, settings_.retry_after,
                                       std::move(client))});
        return goes_round_text;
    }
    if (again)  // it is served again, and logged then; or it was answered, and nobody said how
        deferred_log_.drop(record.id);
    else
        on_done(record.id, 0, answer);
    const char* const fault =
        ends ? returned_.end(srv_, record.socket_index, std::move(client))
             : returned_.adopt(srv_, record.socket_index, unread, std::move(client));
    if (!fault) ++statistics_[Statistics::returned];
    return fault;
}

// Whether a connection comes back again and again with a request that nobody answers. Where the kernel
// does not tell how far an answer has come (a unix socket, or a worker has shut it down), it is the
// same request as long as the same bytes come back.
bool Service::goes_round(int socket, std::span<const uint8_t> unread) {
    const uintptr_t identity = identity_of(socket);
    if (!identity) return false;
    const std::optional<Progress> progress = progress_of(socket);
    const std::string_view text(reinterpret_cast<const char*>(unread.data()), unread.size());
    const uint64_t mark = progress ? progress->written : std::hash<std::string_view>()(text);
    const ReturnsInVain::Seen seen = in_vain_.count(identity, mark, log_monotonic_secs);
    return seen.times > settings_.workers + more_returns_than_workers ||
           seen.since + settings_.deadline < log_monotonic_secs;
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
        take_back_all(line, false);  // what is kept is sent again, and must not be received twice
        hang_up(line);
        return look_after(line, true);  // trigger() does the rest
    }
    log_error(srv_->errh, __FILE__, __LINE__,
              "fd-transfer.server \"%s\": the worker at \"socket\" => \"%s\" has closed the queue; "
              "connecting again",
              settings_.prefix.c_str(), settings_.socket.c_str());
    deferred_log_.worker_ended(line.worker);
    hang_up(line);
    ++statistics_[Statistics::died];
    --statistics_[Statistics::workers];
    look_after(line, true);
    // At once, if this does not go round in circles.
    if (line.since < log_monotonic_secs) connect(line);
    on_writable();
}

}  // namespace fd_transfer
