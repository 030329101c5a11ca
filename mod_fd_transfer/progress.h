// SPDX-License-Identifier: BSD-3-Clause
// How far a TCP connection has come, as the kernel counts it for all who hold the socket.
#pragma once

#include <cstdint>
#include <optional>

namespace fd_transfer {

struct Progress {
    uint64_t written = 0;   // bytes that were given to the kernel for the client
    uint64_t consumed = 0;  // bytes of the client's that were read from the kernel

    bool operator==(const Progress&) const = default;
};

// None: no TCP socket, or one on which no answer can be sent any more. `known_consumed`: at least
// so many of the client's bytes were read; if no more have arrived, that is all there is to know.
std::optional<Progress> progress_of(int socket, uint64_t known_consumed = 0);

// Bytes that were written to a connection, also to one that has ended. Nothing: not known.
std::optional<uint64_t> bytes_written(int socket);

}  // namespace fd_transfer
