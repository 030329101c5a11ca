// SPDX-License-Identifier: BSD-3-Clause
// Starting a program: vfork(2) and execve(2), so that the cost does not grow with the server.
#pragma once

#include <signal.h>
#include <sys/resource.h>
#include <sys/types.h>

#include <span>

namespace process {

struct ResourceLimit {
    int resource;  // RLIMIT_*
    rlim_t value;  // soft and hard limit alike
};

// As whom the program runs. Only a privileged process can become somebody else.
struct Identity {
    uid_t user;
    gid_t group;
    std::span<const gid_t> groups = {};  // supplementary
};

struct Program {
    const char* path;                 // what to execute; no search in PATH
    char* const* arguments;           // argv, NULL-terminated
    char* const* environment;         // envp, NULL-terminated
    const char* directory = nullptr;  // working directory; none: the server's
    int standard_input;
    int standard_output;
    int standard_error;
    std::span<const ResourceLimit> limits = {};
    const Identity* identity = nullptr;  // none: the server's
    int death_signal = 0;                // what the program gets when its parent dies; 0: nothing
    const sigset_t* ignored = nullptr;   // ignored_signals() of this process; none: looked up again
};

struct Spawned {
    pid_t pid = -1;
    int error = 0;                 // errno, if pid is -1
    const char* failed = nullptr;  // then: what failed, "execve" for instance
};

// The signals that this process ignores: 64 system calls, for who starts many programs and ignores
// the same ones all the time.
sigset_t ignored_signals();

// Starts the program in a process group of its own (group id = pid), with no descriptor but the
// three given, default signal dispositions and an empty signal mask. The descriptors stay the
// caller's. Returns once execve() has succeeded or failed: a program that cannot be executed is
// reported here, and leaves no child behind.
Spawned spawn(const Program& program);

}  // namespace process
