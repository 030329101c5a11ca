// SPDX-License-Identifier: BSD-3-Clause
// An owned descriptor, and how the connection behind it ends.
#include <sys/socket.h>
#include <unistd.h>

#include <utility>

#include "worker/cpp/fdworker.h"
#include "worker/cpp/linger.h"
#include "worker/cpp/queue.h"

namespace fdworker {

Socket::Socket() = default;
Socket::Socket(int fd) : fd_(fd) {}
Socket::Socket(int fd, std::unique_ptr<LingeringClose> close)
    : fd_(fd), lingering_close_(std::move(close)) {}
Socket::Socket(Socket&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), lingering_close_(std::move(other.lingering_close_)) {}
Socket::~Socket() { close(); }

Socket& Socket::operator=(Socket&& other) noexcept {
    if (this != &other) {
        close();
        fd_ = std::exchange(other.fd_, -1);
        lingering_close_ = std::move(other.lingering_close_);
    }
    return *this;
}

int Socket::release() {
    lingering_close_.reset();
    return std::exchange(fd_, -1);
}

void Socket::close() {
    if (fd_ >= 0) ::close(release());
}

void Socket::end_connection() {
    if (fd_ < 0) return;
    const auto lingering = std::exchange(lingering_close_, nullptr);
    const bool is_plain = !lingering || !is_to_linger(lingering->ticket.unread, fd_);
    if (!is_plain)
        if (const auto queue = lingering->queue.lock())
            if (queue->end_connection(lingering->ticket, fd_, {}) == Status::ok) return close();
    shutdown(fd_, SHUT_WR);
    if (is_plain) return close();
    if (const auto linger = lingering->linger.lock()) return linger->add(std::move(*this));
    drop_unread(fd_);
    close();
}

}  // namespace fdworker
