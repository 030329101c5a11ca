// SPDX-License-Identifier: BSD-3-Clause
// A daemon that echoes bytes: what stands behind every contender that relays sessions to one.
//
// Usage: echo_daemon [PATH]      listens at PATH; without it, on the socket it was given as stdin
#include <fcntl.h>

#include <array>

#include "sockets.h"

namespace bench {
namespace {

std::array<uint8_t, 256 * 1024> scratch;

class Client final : public Handler {
  public:
    Client(EventLoop& loop, int fd) : loop_(loop), connection_(loop, fd, *this) {}

    void ready(uint32_t) override {
        if (!connection_.is_open()) return;
        connection_.flush();
        if (!connection_.blocked())
            connection_.send({scratch.data(), connection_.receive(scratch)});
        connection_.want_input(!connection_.blocked());
        if (!connection_.is_open()) loop_.retire(this);
    }

  private:
    EventLoop& loop_;
    Connection connection_;
};

class Listener final : public Handler {
  public:
    Listener(EventLoop& loop, int fd) : loop_(loop), fd_(fd) { loop_.add(fd, EPOLLIN, *this); }
    void ready(uint32_t) override {
        for (int fd; (fd = accept_from(fd_)) >= 0;) new Client(loop_, fd);
    }

  private:
    EventLoop& loop_;
    int fd_;
};

}  // namespace
}  // namespace bench

int main(int count, char** arguments) {
    if (count < 2) fcntl(0, F_SETFL, fcntl(0, F_GETFL) | O_NONBLOCK);
    bench::EventLoop loop;
    bench::Listener listener(loop, count < 2 ? 0 : bench::listen_at(arguments[1]));
    loop.run();
}
