// SPDX-License-Identifier: BSD-3-Clause
// Several requests that go to a worker as one message.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "mod_fd_transfer/channel.h"

namespace fd_transfer {

class Batch {
  public:
    size_t size() const { return count_; }
    // Adds a request with the client's socket, which stays the caller's. False if it has no room
    // in the message; then nothing has happened.
    bool add(process::HandoffRecord record, std::span<const uint8_t> data,
             std::span<const uint8_t> fields, int client);
    // All of them, or none. would_block: the queue is full, or the batch empty.
    process::PassingError send(const Channel& channel) const;

  private:
    std::vector<uint8_t> message_;
    std::array<int, process::handoff_batch_max> clients_;
    size_t count_ = 0;
};

}  // namespace fd_transfer
