// SPDX-License-Identifier: BSD-3-Clause
// Starting a program by vfork(2).
//
// The child borrows the parent's memory until it executes, so it may call nothing but
// async-signal-safe functions, and reports a failure simply by writing to a variable.
#include "process/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace process {
namespace {

struct Failure {
    int error;
    const char* step;
};

// Puts `from` at `to`, and makes sure that it survives execve().
bool place(int from, int to) {
    if (from == to) return fcntl(to, F_SETFD, 0) == 0;
    return dup2(from, to) == to;
}

// Standard descriptors that stand in each other's place are first moved out of the way.
bool place_standard_descriptors(const Program& program) {
    int source[3] = {program.standard_input, program.standard_output, program.standard_error};
    for (int to = 0; to < 3; ++to) {
        if (source[to] >= 3 || source[to] == to) continue;
        source[to] = fcntl(source[to], F_DUPFD_CLOEXEC, 3);
        if (source[to] < 0) return false;
    }
    return place(source[0], 0) && place(source[1], 1) && place(source[2], 2);
}

// execve() resets what has a handler, but passes on what is ignored, as SIGPIPE is in a server.
void reset_signals(const sigset_t& ignored) {
    struct sigaction action = {};
    action.sa_handler = SIG_DFL;
    for (int number = 1; number < NSIG; ++number)
        if (sigismember(&ignored, number) == 1) sigaction(number, &action, nullptr);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
}

// By system calls: the C library's functions would speak to the server's threads.
bool become(const Identity& who) {
    return syscall(SYS_setgroups, who.groups.size(), who.groups.data()) == 0 &&
           syscall(SYS_setresgid, who.group, who.group, who.group) == 0 &&
           syscall(SYS_setresuid, who.user, who.user, who.user) == 0;
}

[[noreturn]] void run_child(const Program& program, volatile Failure& failure) {
    const auto fail = [&failure](const char* step) {
        failure.error = errno;
        failure.step = step;
        _exit(127);
    };
    if (setpgid(0, 0) != 0) fail("setpgid");
    if (!place_standard_descriptors(program)) fail("dup2");
    // Descriptors in a server are close-on-exec; this is for one that a library forgot to mark.
    syscall(SYS_close_range, 3U, ~0U, 0U);
    for (const ResourceLimit& limit : program.limits) {
        const struct rlimit value = {limit.value, limit.value};
        if (setrlimit(static_cast<__rlimit_resource>(limit.resource), &value) != 0)
            fail("setrlimit");
    }
    if (program.identity && !become(*program.identity)) fail("setresuid");
    // After that: a change of user clears it.
    if (program.death_signal && prctl(PR_SET_PDEATHSIG, program.death_signal) != 0) fail("prctl");
    if (program.directory && chdir(program.directory) != 0) fail("chdir");
    reset_signals(program.ignored ? *program.ignored : ignored_signals());
    execve(program.path, program.arguments, program.environment);
    fail("execve");
    __builtin_unreachable();
}

}  // namespace

sigset_t ignored_signals() {
    sigset_t ignored;
    sigemptyset(&ignored);
    for (int number = 1; number < NSIG; ++number) {
        struct sigaction action;
        if (sigaction(number, nullptr, &action) == 0 && action.sa_handler == SIG_IGN)
            sigaddset(&ignored, number);
    }
    return ignored;
}

Spawned spawn(const Program& program) {
    volatile Failure failure = {0, nullptr};
    sigset_t all, before;
    sigfillset(&all);
    // No handler of the server may run in the child while both share their memory.
    sigprocmask(SIG_SETMASK, &all, &before);
    const pid_t pid = vfork();
    if (pid == 0) run_child(program, failure);
    const int vfork_error = errno;
    sigprocmask(SIG_SETMASK, &before, nullptr);

    if (pid < 0) return {-1, vfork_error, "vfork"};
    if (failure.step) {
        waitpid(pid, nullptr, 0);
        return {-1, failure.error, failure.step};
    }
    return {pid, 0, nullptr};
}

}  // namespace process
