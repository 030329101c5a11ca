// SPDX-License-Identifier: BSD-3-Clause
// A started program has what it was given and nothing else; one that cannot be started is
// reported at once and leaves nothing behind.
#include "process/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "process/file_descriptor.h"
#include "suite.h"

namespace {

struct Result {
    std::string output;
    int status;
};

// Runs a shell script, and returns what it wrote to stdout.
Result run(const char* script, process::Program program = {}) {
    int pipe_ends[2];
    ck_assert_int_eq(pipe2(pipe_ends, O_CLOEXEC), 0);
    char* arguments[] = {const_cast<char*>("sh"), const_cast<char*>("-c"),
                         const_cast<char*>(script), nullptr};
    char* environment[] = {const_cast<char*>("ONLY=this"), nullptr};
    const process::FileDescriptor null(open("/dev/null", O_RDWR | O_CLOEXEC));
    program.path = "/bin/sh";
    program.arguments = arguments;
    program.environment = environment;
    program.standard_input = null.get();
    program.standard_output = pipe_ends[1];
    program.standard_error = null.get();
    const process::Spawned spawned = process::spawn(program);
    close(pipe_ends[1]);
    ck_assert_int_gt(spawned.pid, 0);
    Result result;
    char buffer[4096];
    for (ssize_t size; (size = read(pipe_ends[0], buffer, sizeof(buffer))) > 0;)
        result.output.append(buffer, size_t(size));
    close(pipe_ends[0]);
    waitpid(spawned.pid, &result.status, 0);
    return result;
}

}  // namespace

START_TEST(it_runs_with_its_environment_alone) {
    const Result result = run("/usr/bin/env; exit 3");
    ck_assert_ptr_nonnull(strstr(result.output.c_str(), "ONLY=this\n"));
    ck_assert_ptr_null(strstr(result.output.c_str(), "HOME="));
    ck_assert_int_eq(WEXITSTATUS(result.status), 3);
}
END_TEST

START_TEST(it_inherits_no_other_descriptor) {
    const process::FileDescriptor forgotten(open("/etc/passwd", O_RDONLY));  // not close-on-exec
    ck_assert_int_gt(forgotten.get(), 2);
    // ls itself opens the directory: 0 1 2 3.
    const Result result = run("exec /bin/ls /proc/self/fd");
    ck_assert_str_eq(result.output.c_str(), "0\n1\n2\n3\n");
}
END_TEST

START_TEST(it_leads_a_process_group_of_its_own) {
    const Result result = run("set -- $(cat /proc/$$/stat); [ $1 = $5 ] && echo leads");
    ck_assert_str_eq(result.output.c_str(), "leads\n");
}
END_TEST

START_TEST(signals_are_as_a_fresh_program_expects_them) {
    signal(SIGPIPE, SIG_IGN);
    sigset_t set, before;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, &before);
    const Result result = run("exec grep -E 'Sig(Blk|Ign)' /proc/self/status");
    sigset_t after;
    sigprocmask(SIG_SETMASK, &before, &after);
    ck_assert_str_eq(result.output.c_str(),
                     "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    ck_assert(sigismember(&after, SIGTERM));  // ours are as they were

    const sigset_t ignored = process::ignored_signals();
    ck_assert(sigismember(&ignored, SIGPIPE) && !sigismember(&ignored, SIGTERM));
    process::Program program = {};
    program.ignored = &ignored;
    const Result known = run("exec grep SigIgn /proc/self/status", program);
    ck_assert_str_eq(known.output.c_str(), "SigIgn:\t0000000000000000\n");
}
END_TEST

START_TEST(directory_and_limits_hold) {
    const process::ResourceLimit limits[] = {{RLIMIT_NOFILE, 77}};
    process::Program program = {};
    program.directory = "/usr";
    program.limits = limits;
    const Result result = run("pwd; ulimit -n", program);
    ck_assert_str_eq(result.output.c_str(), "/usr\n77\n");
}
END_TEST

START_TEST(what_cannot_be_executed_is_reported_and_leaves_no_child) {
    char* none[] = {nullptr};
    const process::Spawned spawned = process::spawn({.path = "/no/such/program",
                                                     .arguments = none,
                                                     .environment = none,
                                                     .standard_input = 0,
                                                     .standard_output = 1,
                                                     .standard_error = 2});
    ck_assert_int_eq(spawned.pid, -1);
    ck_assert_int_eq(spawned.error, ENOENT);
    ck_assert_str_eq(spawned.failed, "execve");
    ck_assert_int_eq(waitpid(-1, nullptr, WNOHANG), -1);
    ck_assert_int_eq(errno, ECHILD);
}
END_TEST

START_TEST(a_directory_that_is_not_there_is_reported) {
    char* none[] = {nullptr};
    const process::Spawned spawned = process::spawn({.path = "/bin/true",
                                                     .arguments = none,
                                                     .environment = none,
                                                     .directory = "/no/such",
                                                     .standard_input = 0,
                                                     .standard_output = 1,
                                                     .standard_error = 2});
    ck_assert_int_eq(spawned.error, ENOENT);
    ck_assert_str_eq(spawned.failed, "chdir");
}
END_TEST

START_TEST(it_gets_its_signal_when_its_parent_dies) {
    int ends[2];
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    const pid_t parent = fork();
    if (parent == 0) {
        char* arguments[] = {const_cast<char*>("sleep"), const_cast<char*>("1000"), nullptr};
        char* environment[] = {nullptr};
        const process::Spawned spawned = process::spawn({.path = "/bin/sleep",
                                                         .arguments = arguments,
                                                         .environment = environment,
                                                         .standard_input = 0,
                                                         .standard_output = ends[1],
                                                         .standard_error = 2,
                                                         .death_signal = SIGTERM});
        _exit(spawned.pid > 0 ? 0 : 1);
    }
    close(ends[1]);
    int status;
    waitpid(parent, &status, 0);
    ck_assert_int_eq(status, 0);
    char byte;
    ck_assert_int_eq(read(ends[0], &byte, 1), 0);  // sleep has gone: nobody holds the other end
    close(ends[0]);
}
END_TEST

int main() {
    return run_suite(
        "spawn",
        {it_runs_with_its_environment_alone, it_inherits_no_other_descriptor,
         it_leads_a_process_group_of_its_own, signals_are_as_a_fresh_program_expects_them,
         directory_and_limits_hold, what_cannot_be_executed_is_reported_and_leaves_no_child,
         a_directory_that_is_not_there_is_reported, it_gets_its_signal_when_its_parent_dies});
}
