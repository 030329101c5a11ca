// SPDX-License-Identifier: BSD-3-Clause
// A bare epoll loop.
#include "event_loop.h"

#include <errno.h>

#include <array>
#include <system_error>

namespace bench {
namespace {

void check(int result) {
    if (result < 0) throw std::system_error(errno, std::generic_category(), "epoll");
}

}  // namespace

EventLoop::EventLoop() : epoll_(epoll_create1(EPOLL_CLOEXEC)) { check(epoll_); }

void EventLoop::add(int fd, uint32_t events, Handler& handler) {
    epoll_event event{.events = events, .data = {.ptr = &handler}};
    check(epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event));
}

void EventLoop::change(int fd, uint32_t events, Handler& handler) {
    epoll_event event{.events = events, .data = {.ptr = &handler}};
    check(epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event));
}

void EventLoop::turn(int timeout) {
    std::array<epoll_event, 256> events;
    const int count = epoll_wait(epoll_, events.data(), events.size(), timeout);
    if (count < 0 && errno != EINTR) check(count);
    for (int i = 0; i < count; ++i) {
        const epoll_event& event = events[static_cast<size_t>(i)];
        static_cast<Handler*>(event.data.ptr)->ready(event.events);
    }
    retired_.clear();
}

void EventLoop::run() {
    for (;;) turn(-1);
}

}  // namespace bench
