// SPDX-License-Identifier: BSD-3-Clause
// One queue to workers: hand-offs go out, replies come in. Never blocks.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "process/fd_passing.h"
#include "process/file_descriptor.h"
#include "process/handoff_record.h"

namespace fd_transfer {

class Channel {
  public:
    Channel() = default;
    // Our end, and the workers' if it is ours to keep (so that the queue outlives all workers).
    Channel(process::FileDescriptor ours, process::FileDescriptor theirs)
        : ours_(std::move(ours)), theirs_(std::move(theirs)) {}
    Channel(Channel&&) = default;
    Channel& operator=(Channel&&) = default;
    ~Channel() { close(); }

    // A fresh queue; not open() if that failed, see errno. `queue_bytes`: how much may wait in it,
    // 0 for the kernel's default.
    static Channel create(int queue_bytes);
    // Connects to a worker that listens at `path`. Not open() if that failed, see errno.
    static Channel connect(const char* path, int queue_bytes);

    bool open() const { return bool(ours_); }
    int fd() const { return ours_.get(); }
    int workers_fd() const { return theirs_.get(); }

    // Sends a request with the client's socket, which stays the caller's. Data that are too many
    // for a message travel in a memfd. would_block: the queue is full.
    process::PassingError send(process::HandoffRecord record, std::span<const uint8_t> data,
                               std::span<const uint8_t> fields, int client) const;

    // Bytes that no worker has received yet, as the kernel counts them (with its overhead).
    // 0: everything has been received.
    int queued_bytes() const;

    // Whether workers have shut it down: they will say nothing any more.
    bool shut_down() const;

    // Of the queue to workers that lighttpd starts: the id of the first hand-off in it, which is the
    // oldest; nothing if all have been received.
    std::optional<uint64_t> first_id() const;
    // Takes the first message out of that queue, so that no worker receives it.
    process::PassingError take_first(std::span<uint8_t> buffer,
                                     process::ReceivedMessage& message) const;

    // What workers were sent can still be received; what they said and we have not read is dropped.
    void close();

  private:
    process::FileDescriptor ours_;
    process::FileDescriptor theirs_;
};

}  // namespace fd_transfer
