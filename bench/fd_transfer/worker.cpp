// SPDX-License-Identifier: BSD-3-Clause
// The worker that all rows of the bench share.
#include "bench/fd_transfer/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "process/fd_passing.h"
#include "process/handoff_fields.h"
#include "process/handoff_record.h"

namespace bench {
namespace {

uint8_t received[1 << 18];
const std::string small_body(100, 's');
const std::string big_body(1 << 20, 'b');

std::string response(std::string_view status_line, std::string_view body) {
    return std::string(status_line) +
           "\r\nContent-Type: text/plain\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\n\r\n" + std::string(body);
}

const std::string small_http = response("HTTP/1.1 200 OK", small_body);
const std::string last_http = response("HTTP/1.1 200 OK\r\nConnection: close", small_body);
const std::string big_http = response("HTTP/1.1 200 OK", big_body);
const std::string small_scgi = response("Status: 200 OK", small_body);
const std::string big_scgi = response("Status: 200 OK", big_body);
constexpr std::string_view events_http =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

// The number after `name` in a head, or 0.
uint64_t number_after(std::string_view head, const char* name) {
    const void* const at = memmem(head.data(), head.size(), name, strlen(name));
    return at ? strtoull(static_cast<const char*>(at) + strlen(name), nullptr, 10) : 0;
}

bool contains(std::string_view text, std::string_view what) {
    return memmem(text.data(), text.size(), what.data(), what.size()) != nullptr;
}

}  // namespace

Worker::Worker() : epoll_(epoll_create1(EPOLL_CLOEXEC)), pid_(getpid()) {}

void Worker::listen_on(int listener, bool scgi) {
    listener_ = listener;
    scgi_ = scgi;
    epoll_event event = {EPOLLIN, {.fd = listener}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, listener, &event);
}

void Worker::receive_from(int queue, Manner manner, bool batches) {
    queue_ = queue;
    manner_ = manner;
    batches_ = batches;
    epoll_event event = {EPOLLIN, {.fd = queue}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, queue, &event);
    if (manner != Manner::simple) say_hello();
}

void Worker::run() {
    time_t second = time(nullptr);
    for (;;) {
        epoll_event events[128];
        const int count = epoll_wait(epoll_, events, 128, 1000);
        for (int i = 0; i < count; ++i) {
            const int fd = events[i].data.fd;
            if (fd == listener_)
                accept_all();
            else if (fd == queue_)
                receive_all();
            else if (const auto found = connections_.find(fd); found != connections_.end()) {
                if (found->second.out.empty())
                    on_readable(found->second);
                else if (flush(found->second) && found->second.out.empty())
                    on_readable(found->second);
            }
        }
        send_notes();
        if (time(nullptr) != second) {
            second = time(nullptr);
            tick();
        }
    }
}

void Worker::accept_all() {
    for (int fd; (fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        Connection& c = connections_[fd] = {};
        c.fd = fd;
        c.scgi = scgi_;
        watch(c);
    }
}

void Worker::receive_all() {
    for (int i = 0; i < 16; ++i) {
        process::ReceivedMessage message;
        const process::PassingError error = receive_message(queue_, received, message);
        if (error == process::PassingError::peer_closed) exit(0);
        if (error != process::PassingError::none) return;
        process::HandoffReader reader({received, message.size}, message.fds.count());
        process::HandoffRecord record;
        while (!reader.done() && reader.next(record) == process::HandoffError::none)
            receive(record, reader, message.fds);
    }
}

void Worker::receive(const process::HandoffRecord& record, const process::HandoffReader& reader,
                     process::ReceivedFds& fds) {
    const int fd = fds.release(reader.first_fd());
    Connection& c = connections_[fd] = {};
    c.fd = fd;
    c.handed = true;
    c.handoff = record.id;
    c.socket_index = record.socket_index;
    c.wants_taken = record.wants_taken();
    c.wants_done = manner_ == Manner::done;
    if (c.wants_taken) fcntl(fd, F_SETOWN, pid_);
    std::string data(size_t(record.data_length), '\0');
    if (record.in_memfd())
        (void)!pread(fds[reader.first_fd() + 1], data.data(), data.size(), 0);
    else
        memcpy(data.data(), reader.data().data(), data.size());
    if (take_bytes(c, data)) watch(c);
}

void Worker::on_readable(Connection& c) {
    const int fd = c.fd;
    for (;;) {
        const ssize_t size = read(fd, received, sizeof(received));
        if (size < 0 && errno == EAGAIN) return;
        if (size <= 0) return end(c);
        if (!take_bytes(c, {reinterpret_cast<const char*>(received), size_t(size)})) return;
        if (!c.out.empty() || size_t(size) < sizeof(received)) return;
    }
}

bool Worker::take_bytes(Connection& c, std::string_view bytes) {
    if (c.body_left > 0) {
        const uint64_t used = std::min<uint64_t>(c.body_left, bytes.size());
        c.body_left -= used;
        if (c.body_left > 0) return true;
        c.out = c.scgi ? small_scgi : small_http;
        return flush(c) && (!c.out.empty() || finished(c, bytes.substr(used)));
    }
    if (!c.in.empty()) {
        c.in.append(bytes);
        bytes = c.in;
    }
    const size_t end = c.scgi ? bytes.find(",") : bytes.find("\r\n\r\n");
    if (end == bytes.npos) {
        if (c.in.empty()) c.in.assign(bytes);
        return true;
    }
    const std::string whole = c.in.empty() ? std::string() : std::exchange(c.in, {});
    if (!whole.empty()) bytes = whole;
    const size_t head = end + (c.scgi ? 1 : 4);
    if (c.scgi) {
        // REQUEST_URI and CONTENT_LENGTH are NUL-terminated strings in the header.
        const char* const length = static_cast<const char*>(
            memmem(bytes.data(), head, "CONTENT_LENGTH", sizeof("CONTENT_LENGTH")));
        c.body_left = length ? strtoull(length + sizeof("CONTENT_LENGTH"), nullptr, 10) : 0;
        c.closing = true;
        c.out = contains(bytes.substr(0, head), "/hot/big") ? big_scgi : small_scgi;
    } else if (!answer_http(c, bytes.substr(0, head))) {
        return false;
    }
    if (c.body_left > 0) {
        c.out = {};
        return bytes.size() == head || take_bytes(c, bytes.substr(head));
    }
    return flush(c) && (!c.out.empty() || finished(c, bytes.substr(head)));
}

bool Worker::answer_http(Connection& c, std::string_view head) {
    c.closing = contains(head, "Connection: close") || contains(head, "HTTP/1.0");
    c.body_left = number_after(head, "Content-Length: ");
    const bool is_big = contains(head.substr(0, 30), "/hot/big");
    c.out = is_big ? big_http : c.closing ? last_http : small_http;
    c.body_size = uint32_t(is_big ? big_body.size() : small_body.size());
    if (contains(head.substr(0, 30), "/hot/events")) {
        c.out = events_http;
        c.events = true;
    }
    return true;
}

// Writes what the socket takes. False if the connection has ended.
bool Worker::flush(Connection& c) {
    while (!c.out.empty()) {
        const ssize_t size = send(c.fd, c.out.data(), c.out.size(), MSG_NOSIGNAL);
        if (size < 0) {
            if (errno == EAGAIN) {
                say_taken(c);
                watch(c);
                return true;
            }
            end(c);
            return false;
        }
        c.out.remove_prefix(size_t(size));
    }
    return true;
}

// A response is out; `rest` belongs to the next request.
bool Worker::finished(Connection& c, std::string_view rest) {
    if (c.closing) {
        end(c);
        return false;
    }
    if (c.handed && manner_ == Manner::give_back && !c.events) return give_back(c, rest);
    say_done(c);
    return rest.empty() || take_bytes(c, rest);
}

void Worker::say_taken(Connection& c) {
    if (c.wants_taken) put_off({.kind = process::HandoffKind::taken, .id = c.handoff});
    c.wants_taken = false;
}

// It implies `taken`.
void Worker::say_done(Connection& c) {
    if (!c.wants_done || c.events) return say_taken(c);
    process::FieldWriter fields;
    fields.add(process::HandoffField::status, 200, 2);
    fields.add(process::HandoffField::bytes, c.body_size, 8);
    put_off({.kind = process::HandoffKind::done, .id = c.handoff}, fields.fields());
    c.wants_taken = c.wants_done = false;
}

void Worker::say_hello() {
    const auto flags = (batches_ ? process::handoff_takes_batches : 0) |
                       (manner_ == Manner::done ? process::handoff_says_done : 0);
    put_off({.kind = process::HandoffKind::hello, .flags = uint16_t(flags)});
    send_notes();
}

void Worker::put_off(process::HandoffRecord record, std::span<const uint8_t> fields) {
    record.fields_length = uint32_t(fields.size());
    uint8_t header[process::handoff_header_size];
    process::encode_handoff(record, header);
    notes_.insert(notes_.end(), header, header + sizeof header);
    notes_.insert(notes_.end(), fields.begin(), fields.end());
    const size_t most = batches_ ? process::handoff_batch_max : 1;
    if (++note_count_ >= most) send_notes();
}

void Worker::send_notes() {
    if (notes_.empty()) return;
    while (process::send_message(queue_, notes_, {}, {}) == process::PassingError::would_block)
        usleep(100);
    notes_.clear();
    note_count_ = 0;
}

bool Worker::give_back(Connection& c, std::string_view rest) {
    const bool without_socket = c.wants_taken && rest.empty();
    const process::HandoffRecord record = {
        .kind = process::HandoffKind::return_socket,
        .flags = without_socket ? process::handoff_without_socket : uint16_t(0),
        .id = c.handoff,
        .socket_index = c.socket_index,
        .data_length = uint32_t(rest.size())};
    if (c.watched) epoll_ctl(epoll_, EPOLL_CTL_DEL, c.fd, nullptr);
    if (without_socket) {
        put_off(record);
    } else {
        uint8_t header[process::handoff_header_size];
        process::encode_handoff(record, header);
        const std::span<const uint8_t> data(reinterpret_cast<const uint8_t*>(rest.data()),
                                            rest.size());
        const int fds[] = {c.fd};
        process::send_message(queue_, header, data, fds);
    }
    close(c.fd);
    connections_.erase(c.fd);
    return false;
}

void Worker::watch(Connection& c) {
    if (c.watched) return;
    c.watched = true;
    epoll_event event = {EPOLLIN | EPOLLOUT | EPOLLET, {.fd = c.fd}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, c.fd, &event);
}

void Worker::end(Connection& c) {
    if (c.wants_taken) shutdown(c.fd, SHUT_WR);  // the server holds the socket too
    say_done(c);
    close(c.fd);
    connections_.erase(c.fd);
}

void Worker::tick() {
    for (auto& [fd, c] : connections_)
        if (c.events) (void)!send(fd, "data: tick\n\n", 12, MSG_NOSIGNAL | MSG_DONTWAIT);
}

}  // namespace bench
