// SPDX-License-Identifier: BSD-3-Clause
// A WebSocket worker on the engine in ws/: an echo on plain epoll. One buffer serves all
// connections: a message is answered from where it was received, all that came in one read by one
// write. A session keeps only what it could not send, and is not read while it has some.
//
//     echo_worker [--listen PATH] [--http PATH]
//
// Requests that are no handshake are refused.
#include <errno.h>
#include <fdworker.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <unordered_map>
#include <vector>

#include "arguments.h"
#include "ws/connection.h"
#include "ws/handshake.h"

namespace {

using Bytes = std::span<std::uint8_t>;
using Clock = std::chrono::steady_clock;
constexpr std::size_t read_size = 256 * 1024;  // bytes
constexpr std::size_t move_max = 4096;         // bytes that are cheaper to move than to send apart
constexpr std::size_t head_max = 65536;        // bytes of a request
constexpr int unread_max = 30000;              // milliseconds without a client's ACK
constexpr auto drain_max = std::chrono::seconds(10);  // for clients to answer our Close
constexpr std::string_view end_of_head = "\r\n\r\n";

struct Session {
    explicit Session(fdworker::Handoff& handoff)
        : client(std::move(handoff.client)), ticket(handoff.ticket) {}

    fdworker::Socket client;
    fdworker::Ticket ticket;
    std::string request;  // until it is answered
    bool open = false;    // the handshake is done
    int status = 0;       // of the answer to it; 0: there is none yet
    std::size_t head_size = 0;
    std::uint64_t written = 0;  // bytes, with the head
    ws::Connection connection{ws::Role::server};
    std::vector<std::uint8_t> unsent;  // while there is any, the client is not read
    bool writing = false;              // what epoll is told to wait for
};

// Pieces that wait to be sent in one go. They stay where they are.
class Answer {
  public:
    bool full() const { return count_ == pieces_.size(); }
    // A short echo is moved to the one before it, over the masking key that stood between them.
    void add(Bytes bytes) {
        if (bytes.empty()) return;
        if (bytes.size() <= move_max && count_ > 0 && bytes.data() == end() + sizeof(ws::MaskKey)) {
            std::memmove(end(), bytes.data(), bytes.size());
            pieces_[count_ - 1].iov_len += bytes.size();
        } else {
            pieces_[count_++] = {bytes.data(), bytes.size()};
        }
    }
    // Sends what the socket takes, appends the rest to the unsent, and is empty.
    void send(Session& session) {
        if (count_ == 0) return;
        std::vector<std::uint8_t>& unsent = session.unsent;
        const ssize_t sent = unsent.empty() ? send_pieces(session.client.fd()) : 0;
        std::size_t skip = std::size_t(std::max<ssize_t>(sent, 0));
        session.written += skip;
        for (const iovec& piece : std::span(pieces_).first(count_)) {
            const std::size_t gone = std::min(skip, piece.iov_len);
            const auto* bytes = static_cast<const std::uint8_t*>(piece.iov_base);
            unsent.insert(unsent.end(), bytes + gone, bytes + piece.iov_len);
            skip -= gone;
        }
        count_ = 0;
    }

  private:
    // sendmsg() costs a little more, and short echoes make one piece.
    ssize_t send_pieces(int client) {
        if (count_ == 1)
            return ::send(client, pieces_[0].iov_base, pieces_[0].iov_len, MSG_NOSIGNAL);
        msghdr message{};
        message.msg_iov = pieces_.data();
        message.msg_iovlen = count_;
        return sendmsg(client, &message, MSG_NOSIGNAL);
    }

    std::uint8_t* end() const {
        const iovec& last = pieces_[count_ - 1];
        return static_cast<std::uint8_t*>(last.iov_base) + last.iov_len;
    }

    std::array<iovec, 64> pieces_;
    std::size_t count_ = 0;
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

ws::ServerHandshake handshake_of(std::string_view head, const std::vector<ws::Field>& fields) {
    ws::Request request;
    request.method = head.substr(0, head.find(' '));
    request.fields = fields;
    return answer(request, {});
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
    explicit Worker(fdworker::Intake intake) : intake_(std::move(intake)) {
        epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
        epoll_ctl(epoll_.fd(), EPOLL_CTL_ADD, intake_.fd(), &event);
    }

    int run() {
        epoll_event events[64];
        while (!draining_ || (!sessions_.empty() && Clock::now() < end_)) {
            const int count = epoll_wait(epoll_.fd(), events, 64, draining_ ? 1000 : -1);
            for (int i = 0; i < count; ++i) {
                auto* const session = static_cast<Session*>(events[i].data.ptr);
                session ? ready(*session) : receive();
            }
        }
        return 0;
    }

  private:
    void watch(Session& session, std::uint32_t what, int operation) {
        epoll_event event{.events = what, .data = {.ptr = &session}};
        epoll_ctl(epoll_.fd(), operation, session.client.fd(), &event);
    }

    void receive() {
        fdworker::Handoff handoff;
        const auto status = intake_.receive(handoff);
        if (status == fdworker::Status::ok) begin(handoff);
        if (status == fdworker::Status::drained) drain();
        if (is_refusal(status))
            std::fprintf(stderr, "echo_worker: hand-off refused: %s\n", text(status));
    }

    void begin(fdworker::Handoff& handoff) {
        const int fd = handoff.client.fd();
        // A client that is gone, or never reads, ends here too.
        const int on = 1;
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unread_max, sizeof unread_max);
        Session& session = *(sessions_[fd] = std::make_unique<Session>(handoff));
        watch(session, EPOLLIN, EPOLL_CTL_ADD);
        // The first frames may have come with the request; what they have in front of them may be
        // written over.
        if (!handle(session, bytes_of(handoff.data))) return end(session);
        settle(session);
    }

    void ready(Session& session) {
        if (!flush(session) || (session.unsent.empty() && !read(session))) return end(session);
        settle(session);
    }

    // False when the connection is over.
    bool read(Session& session) {
        const Bytes space = Bytes(buffer_).subspan(ws::Connection::headroom);
        const ssize_t got = recv(session.client.fd(), space.data(), space.size(), 0);
        if (got < 0) return errno == EAGAIN;
        return got > 0 && handle(session, space.first(std::size_t(got)));
    }

    bool handle(Session& session, Bytes bytes) {
        if (!session.open) return handshake(session, bytes);
        const bool goes_on = take(session, bytes);
        if (draining_) leave(session);
        return goes_on;
    }

    bool handshake(Session& session, Bytes bytes) {
        session.request.append(bytes.begin(), bytes.end());
        const std::size_t end = session.request.find(end_of_head);
        if (end == std::string::npos) return session.request.size() < head_max;

        std::string request = std::move(session.request);
        const std::string_view head = std::string_view(request).substr(0, end + end_of_head.size());
        const std::vector<ws::Field> fields = fields_of(head);
        const ws::ServerHandshake verdict = handshake_of(head, fields);
        std::string response = response_to(verdict);
        answer_.add(bytes_of(response));
        session.status = verdict.status;
        session.head_size = response.size();
        answer_.send(session);
        session.open = verdict.accepted();
        if (session.open) {
            intake_.taken(session.ticket);
            session.ticket.unread = fdworker::Unread::none;  // frames, until we close
        }
        return session.open && handle(session, bytes_of(request).subspan(head.size()));
    }

    // What the client sent, answered piece by piece from where it stands: the header of the
    // answer goes in front of the payload. False when the connection is over.
    bool take(Session& session, Bytes bytes) {
        ws::Connection& connection = session.connection;
        std::array<std::uint8_t, ws::max_header_size> header;
        std::array<std::uint8_t, 2 * ws::max_control_frame> control;
        for (;;) {
            const ws::Event event = connection.receive(bytes);
            const bool is_message = event.type == ws::EventType::message;
            if (is_message && event.payload.empty())
                answer_.add(connection.send_header(event.opcode, 0, event.last, header).bytes);
            else if (is_message)
                answer_.add(connection.send(event.opcode, event.payload, event.last).bytes);
            if (connection.pending())
                answer_.add(Bytes(control).first(connection.take_pending(control)));
            // `header` and `control` serve one piece at a time.
            if (!is_message || event.payload.empty() || answer_.full()) answer_.send(session);
            if (event.type == ws::EventType::need_input) return true;
            if (event.type == ws::EventType::closed) return false;
        }
    }

    // False when the client has gone.
    bool flush(Session& session) {
        if (session.unsent.empty()) return true;
        const ssize_t sent =
            ::send(session.client.fd(), session.unsent.data(), session.unsent.size(), MSG_NOSIGNAL);
        if (sent < 0) return errno == EAGAIN;
        session.unsent.erase(session.unsent.begin(), session.unsent.begin() + sent);
        session.written += std::uint64_t(sent);
        return true;
    }

    void settle(Session& session) {
        if (session.writing != session.unsent.empty()) return;
        session.writing = !session.unsent.empty();
        watch(session, session.writing ? EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD);
    }

    // Says 1001, once, but not in the middle of a message.
    void leave(Session& session) {
        ws::Connection& connection = session.connection;
        if (connection.state() != ws::CloseState::open || connection.sending_message()) return;
        std::uint8_t frame[ws::max_control_frame];
        answer_.add(connection.send_close(1001, "", frame).bytes);
        answer_.send(session);
    }

    void drain() {
        draining_ = true;
        end_ = Clock::now() + drain_max;
        for (const auto& [fd, session] : sessions_) {
            if (session->open) leave(*session);
            settle(*session);
        }
    }

    void end(Session& session) {
        flush(session);
        const int fd = session.client.fd();
        watch(session, 0, EPOLL_CTL_DEL);
        fdworker::Answer got;
        if (session.written > 0)
            got = {session.status,
                   session.written - std::min<std::uint64_t>(session.written, session.head_size)};
        intake_.end_connection(session.ticket, fd, got);
        sessions_.erase(fd);
    }

    fdworker::Intake intake_;
    fdworker::Socket epoll_{epoll_create1(EPOLL_CLOEXEC)};
    std::unordered_map<int, std::unique_ptr<Session>> sessions_;  // by fd
    std::array<std::uint8_t, ws::Connection::headroom + read_size> buffer_;
    Answer answer_;  // to what is being handled
    bool draining_ = false;
    Clock::time_point end_;  // of draining
};

}  // namespace

int main(int argc, char** argv) { return Worker(read_arguments(argc, argv).intake).run(); }
