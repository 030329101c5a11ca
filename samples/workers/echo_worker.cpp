// SPDX-License-Identifier: BSD-3-Clause
// A WebSocket worker on the engine in ws/: an echo on plain epoll. One buffer serves all
// connections; each keeps only what it could not send, and is not read while it has some.
//
// The queue is fd 0. Requests that are no handshake are refused.
#include <errno.h>
#include <fdworker.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cstdio>
#include <memory>
#include <unordered_map>
#include <vector>

#include "ws/connection.h"
#include "ws/handshake.h"

namespace {

using Bytes = std::span<std::uint8_t>;
constexpr std::size_t read_size = 65536;  // bytes

struct Session {
    explicit Session(fdworker::Handoff handoff)
        : client(std::move(handoff.client)), ticket(handoff.ticket) {}

    fdworker::Socket client;
    fdworker::Ticket ticket;
    ws::Connection connection{ws::Role::server};
    std::vector<std::uint8_t> unsent;  // while there is any, the client is not read
    bool writing = false;              // what epoll is told to wait for
};

// The request's fields; empty if a line is not of the form `name: value`.
std::vector<ws::Field> fields_of(std::string_view head) {
    std::vector<ws::Field> fields;
    for (std::size_t at = head.find("\r\n") + 2; at + 2 < head.size();) {
        const std::string_view line = head.substr(at, head.find("\r\n", at) - at);
        const std::size_t colon = line.find(':');
        if (colon == line.npos) return {};
        const std::size_t value = std::min(line.find_first_not_of(" \t", colon + 1), line.size());
        fields.push_back({line.substr(0, colon), line.substr(value)});
        at += line.size() + 2;
    }
    return fields;
}

Bytes bytes_of(std::string& text) {
    return {reinterpret_cast<std::uint8_t*>(text.data()), text.size()};
}

std::string response_to(const ws::ServerHandshake& handshake) {
    std::string response = "HTTP/1.1 " + std::to_string(handshake.status) + " ";
    response += handshake.accepted() ? "Switching Protocols\r\n"
                                     : "Refused\r\nContent-Length: 0\r\nConnection: close\r\n";
    std::array<ws::Field, ws::max_response_fields> space;
    for (const ws::Field& field : handshake.fields(space))
        response.append(field.name).append(": ").append(field.value).append("\r\n");
    return response + "\r\n";
}

class Worker {
  public:
    Worker() {
        watch(queue_.fd(), EPOLLIN);
        watch(drain_.fd(), EPOLLIN);
        queue_.hello();
    }

    int run() {
        epoll_event events[64];
        while (!draining_ || !sessions_.empty()) {
            const int count = epoll_wait(epoll_.fd(), events, 64, -1);
            for (int i = 0; i < count; ++i) ready(events[i].data.fd);
        }
        return 0;
    }

  private:
    void watch(int fd, std::uint32_t what, int operation = EPOLL_CTL_ADD) {
        epoll_event event{.events = what, .data = {.fd = fd}};
        epoll_ctl(epoll_.fd(), operation, fd, &event);
    }

    void ready(int fd) {
        if (fd == drain_.fd() || (fd == queue_.fd() && !receive())) return drain();
        const auto found = sessions_.find(fd);
        if (found == sessions_.end()) return;
        Session& session = *found->second;
        if (!flush(session) || (session.unsent.empty() && !read(session))) return end(fd);
        settle(session);
    }

    // False when lighttpd has no more for us.
    bool receive() {
        fdworker::Handoff handoff;
        const auto status = queue_.receive(handoff);
        if (status == fdworker::Status::ok) begin(std::move(handoff));
        if (is_refusal(status))
            std::fprintf(stderr, "echo_worker: hand-off refused: %s\n", text(status));
        return status != fdworker::Status::drained;
    }

    void begin(fdworker::Handoff handoff) {
        std::string data = std::move(handoff.data);
        const std::string_view head = std::string_view(data).substr(0, handoff.head_length);
        const std::vector<ws::Field> fields = fields_of(head);
        ws::Request request;
        request.method = head.substr(0, head.find(' '));
        request.fields = fields;
        const ws::ServerHandshake handshake = answer(request, {});
        const int fd = handoff.client.fd();
        Session& session = *(sessions_[fd] = std::make_unique<Session>(std::move(handoff)));
        watch(fd, EPOLLIN);
        std::string response = response_to(handshake);
        send(session, bytes_of(response));
        queue_.taken(session.ticket);
        if (!handshake.accepted()) return end(fd);
        // The first frames may have come with the request, which then is the headroom.
        const Bytes rest = bytes_of(data).subspan(head.size());
        if (!take(session, rest)) return end(fd);
        if (draining_) close(session);
        settle(session);
    }

    // False when the connection is over.
    bool read(Session& session) {
        const Bytes space = Bytes(buffer_).subspan(ws::Connection::headroom);
        const ssize_t got = recv(session.client.fd(), space.data(), space.size(), 0);
        if (got < 0) return errno == EAGAIN;
        return got > 0 && take(session, space.first(std::size_t(got)));
    }

    // What the client sent, answered piece by piece from where it stands: the header of the
    // answer goes in front of the payload.
    bool take(Session& session, Bytes bytes) {
        ws::Connection& connection = session.connection;
        for (;;) {
            const ws::Event event = connection.receive(bytes);
            if (event.type == ws::EventType::message) echo(session, event);
            if (connection.pending()) {
                std::uint8_t control[2 * ws::max_control_frame];
                send(session, {control, connection.take_pending(control)});
            }
            if (event.type == ws::EventType::need_input) return true;
            if (event.type == ws::EventType::closed) return false;
        }
    }

    void echo(Session& session, const ws::Event& event) {
        std::array<std::uint8_t, ws::max_header_size> header;
        send(session,
             event.payload.empty()
                 ? session.connection.send_header(event.opcode, 0, event.last, header).bytes
                 : session.connection.send(event.opcode, event.payload, event.last).bytes);
    }

    void send(Session& session, Bytes bytes) {
        if (session.unsent.empty() && !bytes.empty()) {
            const ssize_t sent =
                ::send(session.client.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
            bytes = bytes.subspan(std::size_t(std::max<ssize_t>(sent, 0)));
        }
        session.unsent.insert(session.unsent.end(), bytes.begin(), bytes.end());
    }

    // False when the client has gone.
    bool flush(Session& session) {
        if (session.unsent.empty()) return true;
        const ssize_t sent =
            ::send(session.client.fd(), session.unsent.data(), session.unsent.size(), MSG_NOSIGNAL);
        if (sent < 0) return errno == EAGAIN;
        session.unsent.erase(session.unsent.begin(), session.unsent.begin() + sent);
        return true;
    }

    void settle(Session& session) {
        if (session.writing == session.unsent.empty()) {
            session.writing = !session.unsent.empty();
            watch(session.client.fd(), session.writing ? EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD);
        }
    }

    void close(Session& session) {
        std::uint8_t frame[ws::max_control_frame];
        send(session, session.connection.send_close(1001, "", frame).bytes);
    }

    void drain() {
        draining_ = true;
        for (const int fd : {queue_.fd(), drain_.fd()}) watch(fd, 0, EPOLL_CTL_DEL);
        for (const auto& [fd, session] : sessions_) {
            close(*session);
            settle(*session);
        }
    }

    void end(int fd) {
        flush(*sessions_[fd]);
        watch(fd, 0, EPOLL_CTL_DEL);
        sessions_[fd]->client.end_connection();
        sessions_.erase(fd);
    }

    fdworker::Queue queue_;
    fdworker::Socket drain_{fdworker::drain_signal()};
    fdworker::Socket epoll_{epoll_create1(EPOLL_CLOEXEC)};
    std::unordered_map<int, std::unique_ptr<Session>> sessions_;  // by fd
    std::array<std::uint8_t, ws::Connection::headroom + read_size> buffer_;
    bool draining_ = false;
};

}  // namespace

int main() { return Worker().run(); }
