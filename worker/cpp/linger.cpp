// SPDX-License-Identifier: BSD-3-Clause
// Lingering close: the end of a connection whose client may still be sending.
#include "worker/cpp/linger.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <utility>

namespace fdworker {
namespace {

constexpr std::size_t drop_max = 256 * 1024;   // bytes of one client in a row
constexpr std::size_t piece_size = 16 * 1024;  // bytes
constexpr int events_max = 64;
constexpr std::uint64_t timer_number = 0;

enum class Left : std::uint8_t { more, nothing_now, nothing };

// Reads and drops; what is left to be read then.
Left drop(int client) {
    std::array<char, piece_size> piece;
    for (std::size_t dropped = 0; dropped < drop_max;) {
        const ssize_t got = recv(client, piece.data(), piece.size(), MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN) return Left::nothing_now;
        if (got <= 0) return Left::nothing;
        dropped += std::size_t(got);
    }
    return Left::more;
}

}  // namespace

Linger::Linger()
    : epoll_(epoll_create1(EPOLL_CLOEXEC)),
      timer_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)),
      owner_(getpid()) {
    watch(timer_, timer_number);
}

void Linger::set_limits(std::size_t connections, std::chrono::milliseconds time) {
    const std::lock_guard lock(mutex_);
    clients_max_ = connections;
    time_ = time;
}

bool Linger::watch(const Socket& socket, std::uint64_t number) {
    epoll_event event{.events = EPOLLIN | EPOLLRDHUP, .data = {.u64 = number}};
    return epoll_ctl(epoll_.fd(), EPOLL_CTL_ADD, socket.fd(), &event) == 0;
}

void Linger::add(Socket client) {
    const std::lock_guard lock(mutex_);
    const bool is_ours = getpid() == owner_ && clients_max_ > 0 && timer_.fd() >= 0;
    if (!is_ours || !watch(client, last_ + 1)) return drop_unread(client.fd());
    while (clients_.size() >= clients_max_) remove(clients_.begin());
    clients_.emplace(++last_, Client{std::move(client), Clock::now() + time_});
    if (clients_.size() == 1) set_timer();
}

// Closing is not enough: epoll goes on with a socket that others have open too.
void Linger::remove(ClientMap::iterator client) {
    epoll_ctl(epoll_.fd(), EPOLL_CTL_DEL, client->second.socket.fd(), nullptr);
    clients_.erase(client);
}

// All have the same time, so the oldest ends first.
void Linger::set_timer() {
    using namespace std::chrono;
    if (clients_.empty()) return;
    const auto left = clients_.begin()->second.end - Clock::now();
    const auto wait = std::max<nanoseconds>(left, milliseconds(1));
    const auto whole = floor<seconds>(wait);
    const itimerspec moment{
        .it_interval = {},
        .it_value = {.tv_sec = whole.count(), .tv_nsec = (wait - whole).count()}};
    timerfd_settime(timer_.fd(), 0, &moment, nullptr);
}

void Linger::run() {
    const std::lock_guard lock(mutex_);
    epoll_event events[events_max];
    const int count = epoll_wait(epoll_.fd(), events, events_max, 0);
    for (int i = 0; i < count; ++i) {
        const auto client = clients_.find(events[i].data.u64);
        if (client == clients_.end()) continue;  // the timer
        if (drop(client->second.socket.fd()) == Left::nothing) remove(client);
    }
    std::uint64_t times;
    if (read(timer_.fd(), &times, sizeof times) < 0) return;
    while (!clients_.empty() && clients_.begin()->second.end <= Clock::now())
        remove(clients_.begin());
    set_timer();
}

bool Linger::empty() const {
    const std::lock_guard lock(mutex_);
    return clients_.empty();
}

bool is_to_linger(Unread unread, int client) {
    char first;
    return unread == Unread::likely ||
           (unread == Unread::unknown &&
            recv(client, &first, sizeof first, MSG_PEEK | MSG_DONTWAIT) > 0);
}

void drop_unread(int client) { drop(client); }

}  // namespace fdworker
