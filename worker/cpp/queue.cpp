// SPDX-License-Identifier: BSD-3-Clause
// The queue: receiving hand-offs, telling the server about them, giving sockets back.
#include "worker/cpp/queue.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

#include "process/handoff_fields.h"
#include "worker/cpp/unread.h"

namespace fdworker {

using process::HandoffError;
using process::HandoffKind;
using process::HandoffRecord;
using process::PassingError;

namespace {

constexpr std::size_t unsent_max = 4096;                                   // notes
constexpr std::size_t unsent_data_max = 16 * process::handoff_inline_max;  // bytes

Status from(PassingError error) {
    switch (error) {
        case PassingError::none:
            return Status::ok;
        case PassingError::would_block:
        case PassingError::no_resources:
            return Status::empty;
        case PassingError::peer_closed:
            return Status::drained;
        case PassingError::truncated_data:
            return Status::truncated_data;
        case PassingError::truncated_fds:
            return Status::truncated_fds;
        case PassingError::too_many_fds:
            return Status::too_many_fds;
        case PassingError::system:
            break;
    }
    return Status::system_error;
}

Status from(HandoffError error) {
    switch (error) {
        case HandoffError::none:
            return Status::ok;
        case HandoffError::short_header:
            return Status::short_header;
        case HandoffError::bad_magic:
            return Status::bad_magic;
        case HandoffError::bad_version:
            return Status::bad_version;
        case HandoffError::bad_kind:
            return Status::bad_kind;
        case HandoffError::bad_flags:
            return Status::bad_flags;
        case HandoffError::bad_lengths:
            return Status::bad_lengths;
        case HandoffError::bad_fields:
            return Status::bad_fields;
        case HandoffError::missing_fd:
            return Status::missing_fd;
        case HandoffError::too_many_fds:
            return Status::too_many_fds;
    }
    return Status::system_error;
}

std::span<const std::uint8_t> as_bytes(std::string_view data) {
    return {reinterpret_cast<const std::uint8_t*>(data.data()), data.size()};
}

bool is_stream_socket(int fd) {
    int type = 0;
    socklen_t size = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

bool read_memfd(int fd, std::string& data) {
    std::size_t done = 0;
    while (done < data.size()) {
        const ssize_t got = pread(fd, data.data() + done, data.size() - done, off_t(done));
        if (got <= 0) return false;
        done += std::size_t(got);
    }
    return true;
}

// The fields of `done` and `return`; written where they are used.
void add_answer(process::FieldWriter& fields, Answer answer) {
    if (answer.status == 0) return;
    fields.add(process::HandoffField::status, std::uint64_t(answer.status), 2);
    fields.add(process::HandoffField::bytes, answer.bytes, 8);
}

// Bytes of a record without data, with the fields of an answer.
constexpr std::size_t note_max = process::handoff_header_size + 6 + 12;

std::size_t write_note(HandoffRecord record, Answer answer, std::span<std::uint8_t> out) {
    process::FieldWriter writer;
    add_answer(writer, answer);
    const auto fields = writer.fields();
    assert(process::handoff_header_size + fields.size() <= out.size());
    record.fields_length = std::uint32_t(fields.size());
    encode_handoff(record, out.first<process::handoff_header_size>());
    std::copy(fields.begin(), fields.end(), out.begin() + process::handoff_header_size);
    return process::handoff_header_size + fields.size();
}

Peer peer_of(std::span<const std::uint8_t> fields) {
    Peer peer;
    process::FieldReader reader(fields);
    while (const auto field = reader.next()) switch (field->type) {
            case process::HandoffField::client_address:
                peer.address = field->text();
                break;
            case process::HandoffField::client_port:
                peer.port = std::uint16_t(field->number().value_or(0));
                break;
            case process::HandoffField::scheme:
                peer.scheme = field->text();
                break;
            case process::HandoffField::user:
                peer.user = field->text();
                break;
            case process::HandoffField::body_limit:
                peer.body_limit = field->number().value_or(0);
                break;
            default:  // of a newer server
                break;
        }
    return peer;
}

Socket memfd_with(std::string_view data) {
    Socket memfd(memfd_create("handoff", MFD_CLOEXEC));
    std::size_t done = 0;
    while (memfd.fd() >= 0 && done < data.size()) {
        const ssize_t put = pwrite(memfd.fd(), &data[done], data.size() - done, off_t(done));
        if (put <= 0) memfd.close();
        done += std::size_t(put);
    }
    return memfd;
}

}  // namespace

const char* text(Status status) {
    switch (status) {
        case Status::ok:
            return "ok";
        case Status::empty:
            return "nothing to do now";
        case Status::drained:
            return "the server sends no more";
        case Status::truncated_data:
            return passing_error_text(PassingError::truncated_data);
        case Status::truncated_fds:
            return "no file descriptor is free (raise RLIMIT_NOFILE, or serve fewer clients at "
                   "once); nothing is received until one is, for a second at least";
        case Status::short_memfd:
            return "the memfd holds less than the record says";
        case Status::not_for_workers:
            return "record is of a kind that only a worker sends";
        case Status::not_a_socket:
            return "the record's file descriptor is no stream socket";
        case Status::not_returnable:
            return "the connection cannot be returned: no server waits for it";
        case Status::system_error:
            return "system error";
        default:
            break;
    }
    for (int error = 0; error <= int(HandoffError::too_many_fds); ++error)
        if (from(HandoffError(error)) == status) return handoff_error_text(HandoffError(error));
    return "unknown status";
}

Queue::Queue(Socket socket, Delivery delivery, Reports reports)
    : socket_(std::move(socket)),
      delivery_(delivery),
      reports_(reports),
      buffer_(std::make_unique<std::uint8_t[]>(process::handoff_message_max)) {}

Queue::~Queue() {
    while (has_more()) {
        Handoff handoff;
        if (next(handoff) == Status::ok)
            return_socket(handoff.ticket, handoff.client.fd(), handoff.data);
    }
    flush();
}

void Queue::forget() {
    const std::lock_guard lock(mutex_);
    forget_unsent();
    reader_ = {};
}

void Queue::hello() {
    const std::lock_guard lock(mutex_);
    const auto flags = (delivery_ == Delivery::batches ? process::handoff_takes_batches : 0) |
                       (reports_ == Reports::done ? process::handoff_says_done : 0);
    tell({.kind = HandoffKind::hello, .flags = std::uint16_t(flags)});
    send_unsent();
}

void Queue::taken(Ticket& ticket) {
    const std::lock_guard lock(mutex_);
    say_taken(ticket);
}

void Queue::done(Ticket& ticket, Answer answer) {
    const std::lock_guard lock(mutex_);
    say_done(ticket, answer);
}

void Queue::flush() {
    const std::lock_guard lock(mutex_);
    send_unsent();
}

bool Queue::has_unsent() const {
    const std::lock_guard lock(mutex_);
    return !unsent_.empty();
}

void Queue::forget_unsent() {
    unsent_.clear();
    unsent_data_ = 0;
}

void Queue::say_taken(Ticket& ticket) {
    if (std::exchange(ticket.wants_taken, false))
        tell({.kind = HandoffKind::taken, .id = ticket.id});
}

void Queue::say_done(Ticket& ticket, Answer answer) {
    if (!std::exchange(ticket.wants_done, false)) return say_taken(ticket);
    ticket.wants_taken = false;  // `done` implies it
    tell({.kind = HandoffKind::done, .id = ticket.id}, {}, answer);
}

// `empty`: there are too many notes already.
Status Queue::tell(const HandoffRecord& record, std::string_view data, Answer answer) {
    const auto is_full = [&] {
        return unsent_.size() == unsent_max || unsent_data_ + data.size() > unsent_data_max;
    };
    if (is_full()) send_unsent();
    if (is_full()) return Status::empty;
    unsent_.push_back({record, std::string(data), answer});
    unsent_data_ += data.size();
    if (delivery_ == Delivery::single || unsent_.size() >= process::handoff_batch_max)
        send_unsent();
    return Status::ok;
}

// Notes without data go together; one with data may fill a message.
std::size_t Queue::in_next_message() const {
    const std::size_t most = std::min(unsent_.size(), process::handoff_batch_max);
    std::size_t count = 0;
    while (count < most && unsent_[count].data.empty()) ++count;
    return std::max<std::size_t>(count, 1);
}

void Queue::send_unsent() {
    while (!unsent_.empty()) {
        std::array<std::uint8_t, process::handoff_batch_max * note_max> notes;
        const std::size_t count = in_next_message();
        std::size_t size = 0;
        for (std::size_t i = 0; i < count; ++i)
            size +=
                write_note(unsent_[i].record, unsent_[i].answer, std::span(notes).subspan(size));
        const std::string& data = unsent_.front().data;  // empty if there are several
        const Status status =
            from(process::send_message(fd(), std::span(notes).first(size), as_bytes(data), {}));
        if (status == Status::empty) return;
        if (status == Status::drained) return forget_unsent();  // the server has gone
        unsent_data_ -= data.size();
        unsent_.erase(unsent_.begin(), unsent_.begin() + std::ptrdiff_t(count));
    }
}

bool Queue::has_ended() const {
    char first;
    const ssize_t size = recv(fd(), &first, sizeof first, MSG_PEEK | MSG_DONTWAIT);
    return size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR);
}

Status Queue::receive(Handoff& handoff) {
    handoff = Handoff{};
    if (!has_more()) {
        flush();
        if (const Status status = receive_message(); status != Status::ok) return status;
    }
    const Status status = next(handoff);
    // The sockets that found no descriptor are the last ones: said once for all of them.
    for (Handoff none; status == Status::truncated_fds && has_more();) next(none);
    return status;
}

Status Queue::receive_message() {
    process::ReceivedMessage message;
    const auto error =
        process::receive_message(fd(), {buffer_.get(), process::handoff_message_max}, message);
    const std::span<const std::uint8_t> bytes(buffer_.get(), message.size);
    std::size_t fd_count = message.fds.count();
    if (error == PassingError::truncated_fds)  // next() finds out which
        fd_count = std::max(fd_count, process::handoff_fds_needed(bytes));
    else if (error != PassingError::none)
        return from(error);
    fds_ = std::move(message.fds);
    // Which worker holds them: before anything can happen to us.
    for (std::size_t i = 0; i < fds_.count(); ++i) fcntl(fds_[i], F_SETOWN, getpid());
    reader_ = process::HandoffReader(bytes, fd_count);
    return Status::ok;
}

// What is refused loses its fds, and if it is not known where the next record begins, the whole
// rest of the message. A request that is refused ends, and the server is told.
Status Queue::next(Handoff& handoff) {
    HandoffRecord record;
    Status status = from(reader_.next(record));
    if (status == Status::ok) {
        status = fill(handoff, record);
        if (status == Status::not_a_socket || status == Status::short_memfd) {
            handoff = Handoff{};
            Ticket refused = ticket_of(record);
            done(refused, {});
        }
        for (std::size_t i = 0; i < record.fds_expected(); ++i)
            Socket(fds_.release(reader_.first_fd() + i)).close();
    }
    if (!has_more()) fds_.close_all();
    return status;
}

Ticket Queue::ticket_of(const HandoffRecord& record) const {
    return {.id = record.id,
            .socket_index = record.socket_index,
            .wants_taken = record.wants_taken(),
            .wants_done = reports_ == Reports::done};
}

Status Queue::fill(Handoff& handoff, const HandoffRecord& record) {
    if (record.kind != HandoffKind::request) return Status::not_for_workers;
    const std::size_t client = reader_.first_fd();
    if (client + record.fds_expected() > fds_.count()) return give_up(handoff, record);
    if (!is_stream_socket(fds_[client])) return Status::not_a_socket;

    if (record.in_memfd()) {
        handoff.data.resize(record.data_length);
        if (!read_memfd(fds_[client + 1], handoff.data)) return Status::short_memfd;
    } else {
        handoff.data.assign(reinterpret_cast<const char*>(reader_.data().data()),
                            record.data_length);
    }
    handoff.head_length = record.head_length;
    handoff.raw_stage = record.raw_stage();
    handoff.peer = peer_of(reader_.fields());
    handoff.ticket = ticket_of(record);
    handoff.ticket.unread = unread_of(handoff.head(), handoff.rest());
    handoff.client = Socket(fds_.release(client));
    return Status::ok;
}

// No descriptor was free for the client's socket, or for the memfd that has the data. If the server
// still has the connection, it goes on with it where we give it the data; without them it can only
// end it.
Status Queue::give_up(Handoff& handoff, const HandoffRecord& record) {
    const std::lock_guard lock(mutex_);
    handoff.ticket = ticket_of(record);
    handoff.client = Socket(fds_.release(reader_.first_fd()));
    if (!record.in_memfd() && record.wants_taken())
        give_back(record);
    else if (handoff.client.fd() < 0)
        say_done(handoff.ticket, {});
    send_unsent();
    return Status::truncated_fds;
}

// A request whose data are in the record, to a server that has kept its connection.
Status Queue::give_back(const HandoffRecord& record) {
    const auto data = reader_.data();
    return tell({.kind = HandoffKind::return_socket,
                 .flags = process::handoff_without_socket,
                 .id = record.id,
                 .socket_index = record.socket_index,
                 .data_length = std::uint32_t(data.size())},
                {reinterpret_cast<const char*>(data.data()), data.size()});
}

Status Queue::return_socket(Ticket& ticket, int client, std::string_view unread, Answer answer) {
    if (unread.size() > process::handoff_memfd_max) return Status::bad_lengths;
    const std::lock_guard lock(mutex_);
    HandoffRecord record{
        .kind = HandoffKind::return_socket, .id = ticket.id, .socket_index = ticket.socket_index};
    // The server still has its own descriptor, and takes it if nothing can be lost with ours.
    if (ticket.wants_taken && unread.empty()) {
        record.flags = process::handoff_without_socket;
        if (delivery_ == Delivery::batches) {
            const Status status = tell(record, {}, answer);
            if (status == Status::ok) ticket.wants_taken = ticket.wants_done = false;
            return status;
        }
    }
    return send_return(record, ticket, client, unread, answer);
}

// With the socket, since the server may have let go meanwhile. What was said before comes before,
// since it may be of the same hand-off.
Status Queue::end_connection(Ticket& ticket, int client, Answer answer) {
    const std::lock_guard lock(mutex_);
    send_unsent();
    if (!unsent_.empty()) return Status::empty;
    return send_return({.kind = HandoffKind::return_socket,
                        .flags = process::handoff_end_connection,
                        .id = ticket.id,
                        .socket_index = ticket.socket_index},
                       ticket, client, {}, answer);
}

Status Queue::send_return(HandoffRecord record, Ticket& ticket, int client, std::string_view unread,
                          Answer answer) {
    record.data_length = std::uint32_t(unread.size());
    Socket memfd;
    if (unread.size() > process::handoff_inline_max) {
        memfd = memfd_with(unread);
        if (memfd.fd() < 0) return Status::system_error;
        record.flags |= process::handoff_in_memfd;
        unread = {};
    }
    process::FieldWriter fields;
    add_answer(fields, answer);
    record.fields_length = std::uint32_t(fields.fields().size());
    std::array<std::uint8_t, process::handoff_header_size> header;
    encode_handoff(record, header);
    const int fds[] = {client, memfd.fd()};
    const Status status = from(process::send_message(
        fd(), header, as_bytes(unread), {fds, record.fds_expected()}, fields.fields()));
    if (status == Status::ok) ticket.wants_taken = ticket.wants_done = false;  // it implies both
    return status;
}

}  // namespace fdworker
