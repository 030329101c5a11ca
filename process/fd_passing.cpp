// SPDX-License-Identifier: BSD-3-Clause
// Passing file descriptors over unix sockets, see fd_passing.h.
#include "process/fd_passing.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstring>
#include <utility>

namespace process {
namespace {

// Linux passes at most 253 fds with a message (SCM_MAX_FD). Room for twice ours lets the usual
// surplus be counted and closed; what exceeds even that, the kernel drops and flags MSG_CTRUNC.
constexpr std::size_t control_size =
    CMSG_SPACE(sizeof(ucred)) + CMSG_SPACE(2 * ReceivedFds::capacity * sizeof(int));

PassingError from_errno(int error) {
    switch (error) {
        case EAGAIN:
            return PassingError::would_block;
        case EPIPE:
        case ECONNRESET:
        case ENOTCONN:
        case ECONNREFUSED:
            return PassingError::peer_closed;
        case ETOOMANYREFS:
        case ENOBUFS:
        case ENOMEM:
            return PassingError::no_resources;
        default:
            return PassingError::system;
    }
}

// Takes every fd out of the control messages, whatever order they come in (credentials may stand
// before the fds). False when there were more than ReceivedFds holds; those are closed already.
bool collect(msghdr& header, ReceivedMessage& message) {
    bool all_fit = true;
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
        if (c->cmsg_level != SOL_SOCKET) continue;
        if (c->cmsg_type == SCM_RIGHTS) {
            const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            for (std::size_t i = 0; i < count; ++i) {
                int fd;
                std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
                all_fit &= message.fds.add(fd);
            }
        } else if (c->cmsg_type == SCM_CREDENTIALS) {
            ucred credentials;
            std::memcpy(&credentials, CMSG_DATA(c), sizeof credentials);
            message.sender = credentials.pid;
        }
    }
    return all_fit;
}

}  // namespace

ReceivedFds::ReceivedFds(ReceivedFds&& other) noexcept
    : fds_(other.fds_), count_(std::exchange(other.count_, 0)) {}

ReceivedFds& ReceivedFds::operator=(ReceivedFds&& other) noexcept {
    if (this != &other) {
        close_all();
        fds_ = other.fds_;
        count_ = std::exchange(other.count_, 0);
    }
    return *this;
}

int ReceivedFds::release(std::size_t index) {
    return index < count_ ? std::exchange(fds_[index], -1) : -1;
}

bool ReceivedFds::add(int fd) {
    if (count_ == capacity) {
        close(fd);
        return false;
    }
    fds_[count_++] = fd;
    return true;
}

void ReceivedFds::close_all() {
    for (std::size_t i = 0; i < count_; ++i)
        if (fds_[i] >= 0) close(fds_[i]);
    count_ = 0;
}

const char* passing_error_text(PassingError error) {
    switch (error) {
        case PassingError::none:
            return "no error";
        case PassingError::would_block:
            return "the socket is not ready";
        case PassingError::peer_closed:
            return "the other side has closed the socket";
        case PassingError::truncated_data:
            return "the message is longer than the largest record";
        case PassingError::truncated_fds:
            return "file descriptors were lost on the way (RLIMIT_NOFILE reached?)";
        case PassingError::too_many_fds:
            return "the message carries more file descriptors than any record";
        case PassingError::no_resources:
            return "the kernel has no room for more messages or descriptors in flight";
        case PassingError::system:
            return "system error";
    }
    return "unknown error";
}

PassingError receive_message(int socket, std::span<std::uint8_t> buffer, ReceivedMessage& message) {
    message = ReceivedMessage{};
    alignas(cmsghdr) std::uint8_t control[control_size];
    iovec part{buffer.data(), buffer.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;

    // ECONNRESET is said once, by a peer that ended with our messages unread. Its own come after.
    ssize_t size;
    do size = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (size < 0 && (errno == EINTR || errno == ECONNRESET));
    if (size < 0) return from_errno(errno);

    PassingError error = PassingError::none;
    if (!collect(header, message)) error = PassingError::too_many_fds;
    if (header.msg_flags & MSG_CTRUNC) error = PassingError::truncated_fds;
    if (header.msg_flags & MSG_TRUNC) error = PassingError::truncated_data;
    if (size == 0 && message.fds.count() == 0 && error == PassingError::none)
        error = PassingError::peer_closed;

    if (error == PassingError::none || error == PassingError::truncated_fds)
        message.size = std::size_t(size);
    else
        message.fds.close_all();
    return error;
}

PassingError send_message(int socket, std::span<const std::uint8_t> header,
                          std::span<const std::uint8_t> data, std::span<const int> fds,
                          std::span<const std::uint8_t> tail) {
    if (fds.size() > ReceivedFds::capacity) return PassingError::too_many_fds;
    iovec parts[3];
    std::size_t count = 0;
    for (const auto part : {header, data, tail})
        if (!part.empty()) parts[count++] = {const_cast<std::uint8_t*>(part.data()), part.size()};
    alignas(cmsghdr) std::uint8_t control[CMSG_SPACE(ReceivedFds::capacity * sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = count;
    if (!fds.empty()) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(fds.size_bytes());
        cmsghdr* c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(fds.size_bytes());
        std::memcpy(CMSG_DATA(c), fds.data(), fds.size_bytes());
    }

    ssize_t sent;
    do sent = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? from_errno(errno) : PassingError::none;
}

}  // namespace process
