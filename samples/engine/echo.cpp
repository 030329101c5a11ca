// SPDX-License-Identifier: BSD-3-Clause
// An echo server and its client, over two memory buffers and over a socket pair with poll(): the
// engine does not know which it is. The handshake is left out; see ws/handshake.h.
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "ws/connection.h"

using ws::EventType;

struct End {
    ws::Connection connection;
    bool echo;                 // sends back what it gets; otherwise it says good bye
    std::vector<uint8_t> out;  // to be transmitted

    void append(std::span<uint8_t> bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); }
    void send(ws::Opcode opcode, std::span<const uint8_t> payload, bool last) {
        std::vector<uint8_t> frame(ws::Connection::headroom);
        frame.insert(frame.end(), payload.begin(), payload.end());
        append(connection.send(opcode, std::span(frame).last(payload.size()), last).bytes);
    }
    void receive(std::span<uint8_t> input) {
        uint8_t control[2 * ws::max_control_frame];
        for (auto event = connection.receive(input);
             event.type != EventType::need_input && event.type != EventType::closed;
             event = connection.receive(input)) {
            if (event.type == EventType::message && echo)
                send(event.opcode, event.payload, event.last);
            else if (event.type == EventType::message && event.last)
                append(connection.send_close(1000, "good bye", control).bytes);
            else if (event.type == EventType::close)
                printf("%s: closed with %d\n", echo ? "server" : "client", event.code);
        }
        append(std::span(control).first(connection.take_pending(control)));
    }
};

static void over_memory(End (&ends)[2]) {
    for (int i = 0; !ends[i].out.empty(); i = !i) {
        auto bytes = std::exchange(ends[i].out, {});
        ends[!i].receive(bytes);
    }
}

static void over_poll(End (&ends)[2]) {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0) abort();
    while (ends[0].connection.state() != ws::CloseState::closed) {
        pollfd polled[2] = {{fds[0], POLLIN, 0}, {fds[1], POLLIN, 0}};
        for (int i : {0, 1}) polled[i].events |= ends[i].out.empty() ? 0 : POLLOUT;
        if (poll(polled, 2, -1) < 0) abort();
        for (int i : {0, 1}) {
            uint8_t buffer[4096];
            auto& out = ends[i].out;
            ssize_t size = polled[i].revents & POLLOUT ? write(fds[i], out.data(), out.size()) : 0;
            if (size > 0) out.erase(out.begin(), out.begin() + size);
            size = polled[i].revents & POLLIN ? read(fds[i], buffer, sizeof buffer) : 0;
            if (size > 0) ends[i].receive({buffer, size_t(size)});
        }
    }
    for (int fd : fds) close(fd);
}

int main() {
    uint8_t hello[] = {'H', 'e', 'l', 'l', 'o'};
    for (auto* transport : {over_memory, over_poll}) {
        // A real client's masking keys come from getrandom() or the like.
        const auto mask_keys = [] { return uint32_t(random()); };
        End ends[2] = {{ws::Connection(ws::Role::client, {}, nullptr, mask_keys), false, {}},
                       {ws::Connection(ws::Role::server), true, {}}};
        ends[0].send(ws::Opcode::text, hello, true);
        transport(ends);
    }
}
