// SPDX-License-Identifier: BSD-3-Clause
// Sockets of the benchmark's programs. All are non-blocking and close-on-exec; errors throw
// std::system_error unless said otherwise.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "event_loop.h"

namespace bench {

// Listens on 127.0.0.1 at a port of the kernel's choice, and prints the port to stdout.
int listen_on_loopback();
int listen_at(const std::string& unix_path);

// -1: there is nobody to accept.
int accept_from(int listener);

// -1 if it is refused. The connection to a port may not be complete yet.
int connect_to_port(uint16_t port);
int connect_to(const std::string& unix_path);

// A socket in an event loop: sends at once, and keeps what the socket does not take. It is the
// owner who must stop the source of what is sent while blocked().
class Connection {
  public:
    Connection(EventLoop& loop, int fd, Handler& owner);
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection() { close(); }

    int fd() const { return fd_; }
    bool is_open() const { return fd_ >= 0; }
    void close();

    // What is there, in `space`; 0: nothing now. Closes the connection when it has ended.
    size_t receive(std::span<uint8_t> space);
    void send(std::span<const uint8_t> bytes);
    // To be called when the socket is writable.
    void flush();
    bool blocked() const { return sent_ < kept_.size(); }
    size_t kept() const { return kept_.size() - sent_; }

    // Whether to be told of what can be read.
    void want_input(bool wanted);

  private:
    void update();
    void send_some(std::span<const uint8_t>& bytes);

    EventLoop& loop_;
    Handler& owner_;
    int fd_;
    uint32_t events_ = EPOLLIN;
    bool input_wanted_ = true;
    std::vector<uint8_t> kept_;
    size_t sent_ = 0;  // of what is kept
};

}  // namespace bench
