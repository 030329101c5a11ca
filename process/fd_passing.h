// SPDX-License-Identifier: BSD-3-Clause
// One message with file descriptors over a unix socket: send it, receive it, without blocking and
// without losing or leaking an fd. Knows nothing of what the bytes mean.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace process {

// fds that came with a message. Owns them: what is not released is closed on destruction.
class ReceivedFds {
  public:
    static constexpr std::size_t capacity = 32;

    ReceivedFds() = default;
    ReceivedFds(ReceivedFds&& other) noexcept;
    ReceivedFds& operator=(ReceivedFds&& other) noexcept;
    ~ReceivedFds() { close_all(); }

    std::size_t count() const { return count_; }
    // The fd stays owned here. -1 when there is none, or it was released.
    int operator[](std::size_t index) const { return index < count_ ? fds_[index] : -1; }
    // Ownership goes to the caller. count() does not change.
    int release(std::size_t index);
    // Takes ownership of `fd`; false (and `fd` is closed) when full.
    bool add(int fd);
    void close_all();

  private:
    std::array<int, capacity> fds_{};
    std::size_t count_ = 0;
};

enum class PassingError : std::uint8_t {
    none,
    would_block,     // nothing to receive, or no room to send: poll and come again
    peer_closed,     // receive: end of file. send: EPIPE or ECONNRESET
    truncated_data,  // the message was longer than the buffer (MSG_TRUNC)
    truncated_fds,   // the last fds were dropped: no room for them, or RLIMIT_NOFILE (MSG_CTRUNC)
    too_many_fds,    // more than ReceivedFds::capacity
    no_resources,    // send: ETOOMANYREFS, ENOBUFS, ENOMEM: passes, try again later
    system,          // anything else: see errno
};

const char* passing_error_text(PassingError error);

struct ReceivedMessage {
    std::size_t size = 0;  // bytes written to the caller's buffer
    ReceivedFds fds;       // close-on-exec
    pid_t sender = 0;      // from SCM_CREDENTIALS if the socket has SO_PASSCRED, else 0
};

// Receives one message into `buffer` (MSG_DONTWAIT; the socket's own flags are left alone).
// Several processes may receive from the same socket. On every error but `would_block`,
// `peer_closed` and `system` the message is consumed and all its fds are closed; with
// `truncated_fds` alone `message` has what came. An empty message without fds cannot be told from
// end of file and is reported as `peer_closed`.
PassingError receive_message(int socket, std::span<std::uint8_t> buffer, ReceivedMessage& message);

// Sends `header`, `data` and `tail` as one message with `fds` (at most ReceivedFds::capacity), whole
// or not at all. The fds remain the caller's. Never blocks, raises no SIGPIPE. errno is that of
// sendmsg(2).
PassingError send_message(int socket, std::span<const std::uint8_t> header,
                          std::span<const std::uint8_t> data, std::span<const int> fds,
                          std::span<const std::uint8_t> tail = {});

}  // namespace process
