// SPDX-License-Identifier: BSD-3-Clause
// The programs that run for a server.
#include "process/program_table.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

namespace process {
namespace {

// Whether the program was reaped, by us or by somebody else before us; its group is then killed.
bool gone(pid_t pid) {
    const pid_t result = waitpid(pid, nullptr, WNOHANG);
    if (result != pid && !(result < 0 && errno == ECHILD)) return false;
    kill(-pid, SIGKILL);
    return true;
}

int64_t milliseconds() {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1000000;
}

}  // namespace

void ProgramTable::started(pid_t pid, Owner* owner) {
    programs_[pid].owner = owner;
    const auto found = strangers_.find(pid);
    if (found == strangers_.end()) return;
    const int status = found->second.status;
    strangers_.erase(found);
    reaped(pid, status);
}

uint64_t ProgramTable::spawning() {
    spawning_.insert(++last_spawning_);
    return last_spawning_;
}

// Who was reaped before any of the programs was ordered that are being started now is none of them,
// and its pid may soon be another's.
void ProgramTable::spawned(uint64_t number) {
    spawning_.erase(number);
    const uint64_t first = spawning_.empty() ? UINT64_MAX : *spawning_.begin();
    std::erase_if(strangers_, [first](const auto& item) { return item.second.last < first; });
}

void ProgramTable::disown(pid_t pid) {
    if (const auto found = programs_.find(pid); found != programs_.end())
        found->second.owner = nullptr;
}

void ProgramTable::end(pid_t pid, int64_t grace, int64_t now) {
    const auto found = programs_.find(pid);
    if (found == programs_.end() || found->second.termination) return;
    found->second.termination.emplace(pid, grace, now);
}

void ProgramTable::terminate(pid_t pid, int64_t grace, int64_t now) {
    end(pid, grace, now);
    if (const auto found = programs_.find(pid); found != programs_.end())
        found->second.termination->terminate(now);
}

bool ProgramTable::reaped(pid_t pid, int status) {
    const auto found = programs_.find(pid);
    if (found == programs_.end()) {
        if (!spawning_.empty()) strangers_[pid] = {status, last_spawning_};
        return false;
    }
    Owner* const owner = found->second.owner;
    programs_.erase(found);
    kill(-pid, SIGKILL);
    if (owner) owner->program_exited(status);
    return true;
}

void ProgramTable::tick(int64_t now) {
    for (auto& [pid, entry] : programs_)
        if (entry.termination) entry.termination->tick(now);
}

void ProgramTable::end_all(int64_t seconds) {
    for (const auto& [pid, entry] : programs_) kill(-pid, SIGTERM);
    const int64_t deadline = milliseconds() + seconds * 1000;
    while (!programs_.empty() && milliseconds() < deadline) {
        std::erase_if(programs_, [](const auto& item) { return gone(item.first); });
        const struct timespec pause = {0, 5 * 1000 * 1000};
        if (!programs_.empty()) nanosleep(&pause, nullptr);
    }
    for (const auto& [pid, entry] : programs_) {
        kill(-pid, SIGKILL);
        waitpid(pid, nullptr, 0);
    }
    programs_.clear();
}

}  // namespace process
