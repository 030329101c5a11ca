// SPDX-License-Identifier: BSD-3-Clause
// Requests that a worker is answering and lighttpd has let go of: their entries for the access log
// wait until the worker says how the answer ended.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "lighty/log_entry.h"
#include "mod_fd_transfer/answer.h"

namespace fd_transfer {

class DeferredLog {
  public:
    // At most `capacity` entries wait.
    explicit DeferredLog(size_t capacity) : capacity_(capacity) {}

    bool full() const { return waiting_.size() >= capacity_; }
    size_t size() const { return waiting_.size(); }
    // To be called only if not full(). `worker`: who answers, 0: not known. `status` is logged if the
    // worker never tells.
    void add(uint64_t id, pid_t worker, int status, lighty::LogEntry entry);
    // False: no such entry.
    bool done(uint64_t id, const Answer& answer);
    // The request will be logged elsewhere: it came back unanswered.
    void drop(uint64_t id) { waiting_.erase(id); }

    // This worker is dead. What it has said may still be unread: its entries are written when
    // trigger() is called the second time from now.
    void worker_ended(pid_t worker);
    void trigger();
    // Writes all.
    void flush();

  private:
    struct Waiting {
        pid_t worker;
        int status;
        lighty::LogEntry entry;
    };

    size_t capacity_;
    std::map<uint64_t, Waiting> waiting_;  // by the hand-off's id
    std::vector<pid_t> ended_, ended_before_;
};

}  // namespace fd_transfer
