// SPDX-License-Identifier: BSD-3-Clause
// How a program is made to end: asked, then told, then killed, with its whole process group.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace process {

// The stages of an ending. The program has been asked (its stdin is at end of file) when the
// termination begins; SIGTERM follows after the first grace, SIGKILL after the second.
class Termination {
  public:
    // `grace` in seconds, for each of the two waits. The group must have been made by spawn().
    Termination(pid_t group, int64_t grace, int64_t now)
        : group_(group), grace_(grace), next_(now + grace) {}

    pid_t group() const { return group_; }

    // To be called about once a second: sends the signal that is due at `now`, if any.
    void tick(int64_t now);

    // Skips what is left of the first wait: sends SIGTERM now, unless it was sent.
    void terminate(int64_t now);

    // Kills what is left of the group. Call it when the leader has been reaped too: grandchildren
    // must not outlive their session. Harmless if nobody is left.
    void kill_group() const;

  private:
    enum class Stage { asked, terminated, killed };

    pid_t group_;
    int64_t grace_;
    int64_t next_;
    Stage stage_ = Stage::asked;
};

}  // namespace process
