// SPDX-License-Identifier: BSD-3-Clause
// Sockets of the benchmark's programs.
#include "sockets.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <system_error>

namespace bench {
namespace {

int check(int result, const char* what) {
    if (result < 0) throw std::system_error(errno, std::generic_category(), what);
    return result;
}

int new_socket(int family) {
    return check(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
}

sockaddr_in loopback(uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

sockaddr_un unix_address(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        check(-1, path.c_str());
    }
    memcpy(address.sun_path, path.data(), path.size());
    return address;
}

template <class Address>
const sockaddr* as_sockaddr(const Address& address) {
    return reinterpret_cast<const sockaddr*>(&address);
}

void send_without_delay(int fd) {
    const int on = 1;  // fails harmlessly on unix sockets
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

template <class Address>
int connect_or_refuse(int fd, const Address& address) {
    if (connect(fd, as_sockaddr(address), sizeof address) == 0 || errno == EINPROGRESS) return fd;
    ::close(fd);
    return -1;
}

}  // namespace

int listen_on_loopback() {
    const int fd = new_socket(AF_INET);
    sockaddr_in address = loopback(0);
    check(bind(fd, as_sockaddr(address), sizeof address), "bind");
    check(listen(fd, 4096), "listen");
    socklen_t size = sizeof address;
    check(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), "getsockname");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int listen_at(const std::string& unix_path) {
    const int fd = new_socket(AF_UNIX);
    const sockaddr_un address = unix_address(unix_path);
    check(bind(fd, as_sockaddr(address), sizeof address), unix_path.c_str());
    check(listen(fd, 4096), "listen");
    return fd;
}

int accept_from(int listener) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) send_without_delay(fd);
    return fd;
}

int connect_to_port(uint16_t port) {
    const int fd = new_socket(AF_INET);
    send_without_delay(fd);
    return connect_or_refuse(fd, loopback(port));
}

int connect_to(const std::string& unix_path) {
    const sockaddr_un address = unix_address(unix_path);
    return connect_or_refuse(new_socket(AF_UNIX), address);
}

Connection::Connection(EventLoop& loop, int fd, Handler& owner)
    : loop_(loop), owner_(owner), fd_(fd) {
    loop_.add(fd_, events_, owner_);
}

void Connection::close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
}

size_t Connection::receive(std::span<uint8_t> space) {
    if (fd_ < 0) return 0;
    const ssize_t size = recv(fd_, space.data(), space.size(), 0);
    if (size > 0) return static_cast<size_t>(size);
    if (size == 0 || (errno != EAGAIN && errno != EINTR)) close();
    return 0;
}

void Connection::send_some(std::span<const uint8_t>& bytes) {
    const ssize_t size = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (size >= 0)
        bytes = bytes.subspan(static_cast<size_t>(size));
    else if (errno != EAGAIN && errno != EINTR)
        close();
}

void Connection::send(std::span<const uint8_t> bytes) {
    if (fd_ < 0 || bytes.empty()) return;
    if (!blocked()) send_some(bytes);
    if (fd_ < 0 || bytes.empty()) return;
    kept_.insert(kept_.end(), bytes.begin(), bytes.end());
    update();
}

void Connection::flush() {
    if (fd_ < 0 || !blocked()) return;
    std::span<const uint8_t> rest = std::span(kept_).subspan(sent_);
    send_some(rest);
    sent_ = kept_.size() - rest.size();
    if (fd_ < 0 || blocked()) return;
    kept_.clear();
    sent_ = 0;
    update();
}

void Connection::want_input(bool wanted) {
    input_wanted_ = wanted;
    update();
}

void Connection::update() {
    const uint32_t events = (blocked() ? EPOLLOUT : 0u) | (input_wanted_ ? EPOLLIN : 0u);
    if (fd_ < 0 || events == events_) return;
    events_ = events;
    loop_.change(fd_, events, owner_);
}

}  // namespace bench
