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

}  // namespace

std::optional<Progress> progress_of(int socket, uint64_t known_consumed) {
    tcp_info info;
    socklen_t size = sizeof(info);
    if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 ||
        size < offsetof(tcp_info, tcpi_bytes_retrans) + sizeof(info.tcpi_bytes_retrans))
        return std::nullopt;
    if (info.tcpi_state != established && info.tcpi_state != close_wait) return std::nullopt;
    // The end of the client's side counts as one byte received.
    const uint64_t received = info.tcpi_bytes_received - (info.tcpi_state == close_wait ? 1 : 0);
    int unread = 0;
    if (received != known_consumed && ioctl(socket, SIOCINQ, &unread) != 0) return std::nullopt;
    // What was written is what has left at least once, and what has not.
    return Progress{info.tcpi_bytes_sent - info.tcpi_bytes_retrans + info.tcpi_notsent_bytes,
                    received - uint64_t(unread)};
}

}  // namespace fd_transfer
