// SPDX-License-Identifier: BSD-3-Clause
// A worker on plain epoll. It answers requests under its prefix for as long as the client keeps
// the connection, and returns the connection to lighttpd for anything else or when it falls idle.
// Its requests have no bodies, so finding the end of a head is all the parsing it needs. As it
// never waits but for events, it takes requests in batches.
//
//     epoll_worker [--listen PATH] [--http PATH] [PREFIX]          PREFIX is /hot/ by default
#include <errno.h>
#include <fdworker.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <unordered_map>
#include <vector>

#include "arguments.h"

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t head_max = 65536;  // bytes
constexpr auto idle_max = std::chrono::seconds(5);
constexpr auto write_max = std::chrono::seconds(30);  // for a client that does not read
constexpr std::size_t in_a_row = 32;  // hand-offs received before other events have their turn

struct Connection {
    fdworker::Socket client;
    fdworker::Ticket ticket;
    std::string in, out;
    bool last = false;  // end the connection once `out` is written
    // Of the first answer, which is the one that lighttpd has handed over:
    int status = 0;  // 0: there is none yet
    std::size_t head_size = 0, body_size = 0;
    std::uint64_t written = 0;  // bytes of all answers
    Clock::time_point active = Clock::now();

    // What the client may have got of it.
    fdworker::Answer answer() const {
        if (written == 0) return {};
        return {status, std::min<std::uint64_t>(
                            written - std::min<std::uint64_t>(written, head_size), body_size)};
    }
};

bool same_word(std::string_view a, std::string_view b) {
    return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

// The value of a header field in `head`; empty if it is absent.
std::string_view field(std::string_view head, std::string_view name) {
    for (std::size_t at = head.find("\r\n"); at + 2 < head.size(); at = head.find("\r\n", at + 2)) {
        std::string_view line = head.substr(at + 2);
        line = line.substr(0, line.find("\r\n"));
        const std::size_t colon = line.find(':');
        if (colon == line.npos || !same_word(line.substr(0, colon), name)) continue;
        const std::size_t value = line.find_first_not_of(" \t", colon + 1);
        return value == line.npos ? std::string_view() : line.substr(value);
    }
    return {};
}

class Worker {
  public:
    Worker(fdworker::Intake intake, std::string_view prefix)
        : intake_(std::move(intake)), prefix_(prefix) {
        watch(intake_.fd(), EPOLLIN);
    }

    int run() {
        epoll_event events[64];
        while (!draining_ || !connections_.empty()) {
            intake_.flush();
            const int count = epoll_wait(epoll_.fd(), events, 64, 1000);
            for (int i = 0; i < count; ++i) ready(events[i].data.fd);
            end_idle();
        }
        intake_.flush();
        return 0;
    }

  private:
    void watch(int fd, std::uint32_t what, int operation = EPOLL_CTL_ADD) {
        epoll_event event{.events = what, .data = {.fd = fd}};
        epoll_ctl(epoll_.fd(), operation, fd, &event);
    }

    void ready(int fd) {
        if (fd == intake_.fd()) return receive();
        if (const auto found = connections_.find(fd); found != connections_.end())
            serve(found->second);
    }

    void receive() {
        for (std::size_t i = 0; i < in_a_row || intake_.has_more(); ++i) {
            fdworker::Handoff handoff;
            const auto status = intake_.receive(handoff);
            if (status == fdworker::Status::empty) return;
            if (status == fdworker::Status::drained) {
                draining_ = true;
                return;
            }
            if (status != fdworker::Status::ok) {
                std::fprintf(stderr, "epoll_worker: connection refused: %s\n", text(status));
                continue;
            }
            const int fd = handoff.client.fd();
            Connection& connection = connections_[fd];
            connection = {};
            connection.client = std::move(handoff.client);
            connection.ticket = handoff.ticket;
            connection.in = std::move(handoff.data);
            connection.ticket.unread = fdworker::Unread::none;  // we judge that ourselves
            watch(fd, EPOLLIN);
            serve(connection);
        }
    }

    void serve(Connection& c) {
        c.active = Clock::now();
        char buffer[16384];
        if (c.out.empty() && c.in.find("\r\n\r\n") == c.in.npos) {
            const ssize_t got = recv(c.client.fd(), buffer, sizeof buffer, 0);
            if (got == 0 || (got < 0 && errno != EAGAIN)) return end(c);
            if (got > 0) c.in.append(buffer, std::size_t(got));
        }
        while (!c.last && c.out.size() < head_max) {
            const std::size_t end_of_head = c.in.find("\r\n\r\n");
            if (end_of_head == c.in.npos) break;
            const std::string_view head = std::string_view(c.in).substr(0, end_of_head + 4);
            if (!is_ours(head)) break;
            answer(c, head);
            c.in.erase(0, head.size());
        }
        write(c);
    }

    bool is_ours(std::string_view head) const {
        const std::size_t path = head.find(' ') + 1;
        return head.substr(path, prefix_.size()) == prefix_;
    }

    void answer(Connection& c, std::string_view head) {
        const bool only_head = head.starts_with("HEAD ");
        const bool has_body =
            !field(head, "Transfer-Encoding").empty() ||
            (!field(head, "Content-Length").empty() && field(head, "Content-Length") != "0");
        const bool can = (only_head || head.starts_with("GET ")) && !has_body;
        c.last = !can || head.find(" HTTP/1.1\r\n") == head.npos ||
                 same_word(field(head, "Connection"), "close");
        const std::string body = "Hello from worker " + std::to_string(getpid()) + "\n";
        std::string response = can ? "HTTP/1.1 200 OK\r\n" : "HTTP/1.1 501 Not Implemented\r\n";
        response += "Content-Type: text/plain\r\nContent-Length: " + std::to_string(body.size()) +
                    (c.last ? "\r\nConnection: close\r\n\r\n" : "\r\n\r\n");
        if (c.status == 0) {
            c.status = can ? 200 : 501;
            c.head_size = response.size();
            c.body_size = only_head ? 0 : body.size();
        }
        c.out += response;
        if (!only_head) c.out += body;
        if (c.last) c.ticket.unread = has_body ? fdworker::Unread::likely : fdworker::Unread::none;
    }

    void write(Connection& c) {
        const ssize_t sent = send(c.client.fd(), c.out.data(), c.out.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) return end(c);
        if (sent > 0) {
            c.out.erase(0, std::size_t(sent));
            c.written += std::uint64_t(sent);
        }
        if (!c.out.empty()) {
            if (sent > 0) intake_.taken(c.ticket);
            return watch(c.client.fd(), EPOLLOUT, EPOLL_CTL_MOD);
        }
        if (c.last || c.in.size() > head_max) return end(c);
        if (draining_ || c.in.find("\r\n\r\n") != c.in.npos) return give_back(c);
        if (sent > 0) intake_.done(c.ticket, c.answer());
        watch(c.client.fd(), EPOLLIN, EPOLL_CTL_MOD);
    }

    void give_back(Connection& c) {
        if (intake_.return_socket(c.ticket, c.client.fd(), c.in, c.answer()) !=
            fdworker::Status::ok)
            return end(c);
        forget(c);
    }

    // What we have read and not answered may go on after what we have read.
    void end(Connection& c) {
        if (!c.in.empty()) c.ticket.unread = fdworker::Unread::likely;
        intake_.end_connection(c.ticket, c.client.fd(), c.answer());
        forget(c);
    }

    void forget(Connection& c) {
        watch(c.client.fd(), 0, EPOLL_CTL_DEL);  // others may hold the socket: close is not enough
        connections_.erase(c.client.fd());
    }

    void end_idle() {
        const auto now = Clock::now();
        const auto patience = draining_ ? Clock::duration(0) : idle_max;
        std::vector<int> idle;
        for (const auto& [fd, c] : connections_)
            if (now - c.active >= (c.out.empty() ? patience : write_max)) idle.push_back(fd);
        for (const int fd : idle) {
            Connection& c = connections_[fd];
            c.out.empty() ? give_back(c) : end(c);
        }
    }

    fdworker::Intake intake_;
    std::string prefix_;
    fdworker::Socket epoll_{epoll_create1(EPOLL_CLOEXEC)};
    std::unordered_map<int, Connection> connections_;  // by fd
    bool draining_ = false;
};

}  // namespace

int main(int argc, char** argv) {
    Arguments arguments = read_arguments(argc, argv, "/hot/", fdworker::Delivery::batches);
    return Worker(std::move(arguments.intake), arguments.argument).run();
}
