// SPDX-License-Identifier: BSD-3-Clause
// The programs that run for a server: who is told when one exits, and how each is made to end.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <set>
#include <unordered_map>

#include "process/termination.h"

namespace process {

class ProgramTable {
  public:
    // Told once, when the program has exited and was reaped. `status` is that of waitpid(2).
    class Owner {
      public:
        virtual void program_exited(int status) = 0;

      protected:
        ~Owner() = default;
    };

    // A program that spawn() has started; `owner`, unless it is null, must live until the program
    // has exited, or until it is disowned.
    void started(pid_t pid, Owner* owner);

    // Another thread is to start a program, which may be reaped before started() is called: its
    // owner is told then. Once it is clear what became of that, and after started() if it was
    // started, spawned() must follow with what spawning() has returned.
    uint64_t spawning();
    void spawned(uint64_t number);

    // Nobody wants to know any more how it ends.
    void disown(pid_t pid);

    // The program has been asked to end: its stdin is at end of file. It has `grace` seconds
    // before SIGTERM, and as many before SIGKILL. `now` in seconds.
    void end(pid_t pid, int64_t grace, int64_t now);

    // The same without the first wait.
    void terminate(pid_t pid, int64_t grace, int64_t now);

    // A child was reaped. False if it is none of ours. What is left of its process group is killed:
    // a session's grandchildren end with it.
    bool reaped(pid_t pid, int status);

    // To be called about once a second.
    void tick(int64_t now);

    // For a server that goes away: SIGTERM to all, SIGKILL to those who are there after `seconds`,
    // and all of them reaped. Owners are not told.
    void end_all(int64_t seconds);

    size_t size() const { return programs_.size(); }

  private:
    struct Entry {
        Owner* owner = nullptr;
        std::optional<Termination> termination;
    };
    std::unordered_map<pid_t, Entry> programs_;

    // A child that was reaped while programs were being started, and is not known (yet).
    struct Stranger {
        int status;
        uint64_t last;  // of the programs that were being started then
    };
    std::unordered_map<pid_t, Stranger> strangers_;
    std::set<uint64_t> spawning_;
    uint64_t last_spawning_ = 0;
};

}  // namespace process
