// SPDX-License-Identifier: BSD-3-Clause
// Entries for the access log that wait for a worker's word.
#include "mod_fd_transfer/deferred_log.h"

#include <cassert>
#include <utility>

namespace fd_transfer {

void DeferredLog::add(uint64_t id, pid_t worker, int status, lighty::LogEntry entry) {
    assert(!full());
    waiting_.insert_or_assign(id, Waiting{worker, status, std::move(entry)});
}

bool DeferredLog::done(uint64_t id, const Answer& answer) {
    const auto found = waiting_.find(id);
    if (found == waiting_.end()) return false;
    Waiting& waiting = found->second;
    waiting.entry.write(answer.status ? answer.status : waiting.status, answer.bytes);
    waiting_.erase(found);
    return true;
}

void DeferredLog::worker_ended(pid_t worker) {
    if (!waiting_.empty()) ended_.push_back(worker);
}

void DeferredLog::trigger() {
    for (const pid_t dead : std::exchange(ended_before_, std::exchange(ended_, {})))
        for (auto entry = waiting_.begin(); entry != waiting_.end();) {
            Waiting& waiting = entry->second;
            if (waiting.worker != dead) {
                ++entry;
                continue;
            }
            waiting.entry.write(waiting.status, 0);
            entry = waiting_.erase(entry);
        }
}

void DeferredLog::flush() {
    for (auto& [id, waiting] : std::exchange(waiting_, {})) waiting.entry.write(waiting.status, 0);
}

}  // namespace fd_transfer
