// SPDX-License-Identifier: BSD-3-Clause
// Asked, told, killed: each when its time has come, and the whole group.
#include "process/termination.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"

namespace {

// A child in a group of its own, which does as SIGTERM says, or ignores it.
pid_t start(void (*on_sigterm)(int)) {
    int ready[2];
    ck_assert_int_eq(pipe(ready), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        signal(SIGTERM, on_sigterm);  // Check has a handler of its own
        (void)!write(ready[1], "x", 1);
        for (;;) pause();
    }
    setpgid(pid, pid);
    char byte;
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return pid;
}

bool runs(pid_t pid) { return waitpid(pid, nullptr, WNOHANG) == 0; }

int signal_that_ended(pid_t pid) {
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

}  // namespace

START_TEST(nothing_happens_before_the_grace_is_over) {
    const pid_t pid = start(SIG_DFL);
    process::Termination termination(pid, 10, 100);
    termination.tick(109);
    ck_assert(runs(pid));
    termination.tick(110);
    ck_assert_int_eq(signal_that_ended(pid), SIGTERM);
}
END_TEST

START_TEST(who_ignores_sigterm_is_killed_after_a_second_grace) {
    const pid_t pid = start(SIG_IGN);
    process::Termination termination(pid, 10, 100);
    termination.tick(110);
    termination.tick(119);
    ck_assert(runs(pid));
    termination.tick(120);
    ck_assert_int_eq(signal_that_ended(pid), SIGKILL);
    termination.tick(130);  // harmless
}
END_TEST

START_TEST(terminate_skips_the_first_wait) {
    const pid_t pid = start(SIG_DFL);
    process::Termination termination(pid, 1000, 100);
    termination.terminate(100);
    ck_assert_int_eq(signal_that_ended(pid), SIGTERM);
}
END_TEST

START_TEST(the_whole_group_is_killed) {
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        if (fork() == 0)
            for (;;) pause();
        _exit(0);
    }
    close(ends[1]);
    waitpid(pid, nullptr, 0);  // the leader has gone, its child lives
    process::Termination(pid, 10, 0).kill_group();
    char byte;
    ck_assert_int_eq(read(ends[0], &byte, 1), 0);
}
END_TEST

int main() {
    return run_suite("termination", {nothing_happens_before_the_grace_is_over,
                                     who_ignores_sigterm_is_killed_after_a_second_grace,
                                     terminate_skips_the_first_wait, the_whole_group_is_killed});
}
