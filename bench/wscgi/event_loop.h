// SPDX-License-Identifier: BSD-3-Clause
// A bare epoll loop for the benchmark's own servers and its load generator.
#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace bench {

class Handler {
  public:
    virtual ~Handler() = default;
    virtual void ready(uint32_t events) = 0;
};

class EventLoop {
  public:
    EventLoop();

    // `handler` must live until the descriptor is closed; see retire().
    void add(int fd, uint32_t events, Handler& handler);
    void change(int fd, uint32_t events, Handler& handler);

    // Waits at most so many milliseconds (-1: for ever) and calls who is ready.
    void turn(int timeout);
    [[noreturn]] void run();

    // Deletes the object after this turn, in which events for it may still be due.
    template <class T>
    void retire(T* object) {
        retired_.emplace_back(object);
    }

  private:
    int epoll_;
    std::vector<std::unique_ptr<Handler>> retired_;
};

}  // namespace bench
