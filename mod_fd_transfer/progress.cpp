// SPDX-License-Identifier: BSD-3-Clause
// How far a TCP connection has come.
#include "mod_fd_transfer/progress.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstddef>

namespace fd_transfer {
namespace {

// As in the kernel's include/net/tcp_states.h; netinet/tcp.h and linux/tcp.h exclude each other.
constexpr int established = 1;
constexpr int close_wait = 8;  // the client has ended its side, ours is open

// The kernel tells what has arrived and what waits to be read in two answers, and a client may send
// between them. A client that does so every time is sending much, and fills a buffer soon.
constexpr int most_looks = 100;

struct Look {
    int state;
    uint64_t received;  // bytes of the client's; its end, if the state says so, counts as one
    uint64_t written;

    bool operator==(const Look&) const = default;
    uint64_t bytes() const { return received - (state == close_wait ? 1 : 0); }
};

std::optional<tcp_info> info_of(int socket) {
    tcp_info info;
    socklen_t size = sizeof(info);
    if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 ||
        size < offsetof(tcp_info, tcpi_bytes_retrans) + sizeof(info.tcpi_bytes_retrans))
        return std::nullopt;
    return info;
}

// What has left at least once, and what has not.
uint64_t written(const tcp_info& info) {
    return info.tcpi_bytes_sent - info.tcpi_bytes_retrans + info.tcpi_notsent_bytes;
}

std::optional<Look> look_at(int socket) {
    const std::optional<tcp_info> info = info_of(socket);
    if (!info || (info->tcpi_state != established && info->tcpi_state != close_wait))
        return std::nullopt;
    return Look{info->tcpi_state, info->tcpi_bytes_received, written(*info)};
}

}  // namespace

std::optional<uint64_t> bytes_written(int socket) {
    const std::optional<tcp_info> info = info_of(socket);
    return info ? std::optional(written(*info)) : std::nullopt;
}

std::optional<Progress> progress_of(int socket, uint64_t known_consumed) {
    std::optional<Look> look = look_at(socket);
    for (int i = 0; look && look->bytes() != known_consumed; ++i) {
        // As if all of it had been read: then nothing is repeated.
        if (i == most_looks) return Progress{look->written, look->bytes()};
        int unread = 0;
        if (ioctl(socket, SIOCINQ, &unread) != 0) return std::nullopt;
        const std::optional<Look> again = look_at(socket);
        if (again == look) return Progress{look->written, look->bytes() - uint64_t(unread)};
        look = again;
    }
    if (!look) return std::nullopt;
    return Progress{look->written, known_consumed};
}

}  // namespace fd_transfer
