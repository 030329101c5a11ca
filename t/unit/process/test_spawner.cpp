// SPDX-License-Identifier: BSD-3-Clause
// Programs that are started by a thread.
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>

#include "process/program_table.h"
#include "process/spawner.h"

#include "t/unit/suite.h"  // last

using process::ProgramTable;
using process::Spawner;

namespace {

char* const nothing[] = {nullptr};

std::unique_ptr<Spawner::Order> order(const char* path) {
    auto made = std::make_unique<Spawner::Order>();
    made->program = {.path = path,
                     .arguments = nothing,
                     .environment = nothing,
                     .standard_input = 0,
                     .standard_output = 1,
                     .standard_error = 2};
    return made;
}

std::unique_ptr<Spawner::Order> next(Spawner& spawner) {
    struct pollfd readable = {spawner.fd(), POLLIN, 0};
    ck_assert_int_eq(poll(&readable, 1, 10000), 1);
    auto finished = spawner.finished();
    ck_assert_uint_eq(finished.size(), 1);
    return std::move(finished[0]);
}

struct Owner : ProgramTable::Owner {
    void program_exited(int status) override { exit = status; }
    int exit = -1;
};

}  // namespace

START_TEST(a_program_is_started_and_reported) {
    Spawner spawner;
    ck_assert(!spawner.is_open());
    ck_assert(spawner.open(1) && spawner.is_open());
    spawner.start(order("/bin/true"));
    const pid_t pid = next(spawner)->result.pid;
    int status = -1;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(one_that_cannot_be_executed_is_reported_too) {
    Spawner spawner;
    ck_assert(spawner.open(1));
    spawner.start(order("/nonexistent"));
    const auto failed = next(spawner);
    ck_assert_int_eq(failed->result.pid, -1);
    ck_assert_int_eq(failed->result.error, ENOENT);
    ck_assert_str_eq(failed->result.failed, "execve");
}
END_TEST

// They are blocked for the thread only.
START_TEST(the_server_keeps_its_signals) {
    Spawner spawner;
    ck_assert(spawner.open(1));
    sigset_t mask;
    sigprocmask(SIG_SETMASK, nullptr, &mask);
    ck_assert(!sigismember(&mask, SIGCHLD));
}
END_TEST

START_TEST(nothing_is_lost_when_it_stops) {
    Spawner spawner;
    ck_assert(spawner.open(1));
    for (int i = 0; i < 20; ++i) spawner.start(order("/bin/true"));
    const auto finished = spawner.stop();
    ck_assert(!spawner.is_open());
    for (const auto& one : finished)
        ck_assert_int_eq(waitpid(one->result.pid, nullptr, 0), one->result.pid);
    ck_assert_int_eq(waitpid(-1, nullptr, WNOHANG), -1);
}
END_TEST

// Without a thread nothing begins.
START_TEST(what_has_not_begun_can_be_cancelled) {
    Spawner spawner;
    ck_assert(spawner.open(0));
    auto made = order("/bin/true");
    const Spawner::Order* const first = made.get();
    spawner.start(std::move(made));
    spawner.start(order("/bin/true"));
    ck_assert(spawner.cancel(first));
    ck_assert(!spawner.cancel(first));
    ck_assert_uint_eq(spawner.stop().size(), 0);
}
END_TEST

START_TEST(what_is_finished_cannot_be_cancelled) {
    Spawner spawner;
    ck_assert(spawner.open(1));
    auto made = order("/bin/true");
    const Spawner::Order* const address = made.get();
    spawner.start(std::move(made));
    struct pollfd readable = {spawner.fd(), POLLIN, 0};
    ck_assert_int_eq(poll(&readable, 1, 10000), 1);
    ck_assert(!spawner.cancel(address));
    ck_assert_int_gt(waitpid(next(spawner)->result.pid, nullptr, 0), 0);
}
END_TEST

START_TEST(several_threads_start_each_program_once) {
    Spawner spawner;
    ck_assert(spawner.open(4));
    constexpr size_t count = 200;
    for (size_t i = 0; i < count; ++i) spawner.start(order("/bin/true"));
    size_t exited = 0;
    while (exited < count) {
        struct pollfd readable = {spawner.fd(), POLLIN, 0};
        ck_assert_int_eq(poll(&readable, 1, 10000), 1);
        for (const auto& one : spawner.finished()) {
            ck_assert_int_eq(waitpid(one->result.pid, nullptr, 0), one->result.pid);
            ++exited;
        }
    }
    ck_assert_int_eq(waitpid(-1, nullptr, WNOHANG), -1);
}
END_TEST

START_TEST(a_fork_of_the_process_has_no_threads) {
    Spawner spawner;
    ck_assert(spawner.open(1));
    const pid_t child = fork();
    if (child == 0) {
        const bool open = spawner.is_open();
        spawner.stop();
        _exit(open ? 1 : 0);
    }
    int status = -1;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    spawner.start(order("/bin/true"));
    ck_assert_int_gt(waitpid(next(spawner)->result.pid, nullptr, 0), 0);
}
END_TEST

START_TEST(an_exit_that_is_seen_before_the_start_is_told) {
    ProgramTable table;
    Owner owner;
    const uint64_t number = table.spawning();
    ck_assert(!table.reaped(1 << 30, 7 << 8));
    table.started(1 << 30, &owner);
    table.spawned(number);
    ck_assert_int_eq(owner.exit, 7 << 8);
    ck_assert_uint_eq(table.size(), 0);
}
END_TEST

START_TEST(exits_of_strangers_are_forgotten) {
    ProgramTable table;
    Owner owner;
    ck_assert(!table.reaped(1 << 30, 0));
    const uint64_t number = table.spawning();
    ck_assert(!table.reaped((1 << 30) + 1, 0));
    table.spawned(number);
    table.started(1 << 30, &owner);
    table.started((1 << 30) + 1, &owner);
    ck_assert_int_eq(owner.exit, -1);
    ck_assert_uint_eq(table.size(), 2);
}
END_TEST

// Under a load that never pauses, too: a pid comes back.
START_TEST(exits_before_a_program_was_ordered_are_not_its_own) {
    ProgramTable table;
    Owner owner;
    const uint64_t first = table.spawning();
    ck_assert(!table.reaped(1 << 30, 0));
    const uint64_t second = table.spawning();
    ck_assert(!table.reaped((1 << 30) + 1, 7 << 8));
    table.spawned(first);
    table.started(1 << 30, &owner);
    ck_assert_int_eq(owner.exit, -1);
    table.started((1 << 30) + 1, &owner);
    ck_assert_int_eq(owner.exit, 7 << 8);
    table.spawned(second);
}
END_TEST

int main() {
    return run_suite(
        "spawner", {a_program_is_started_and_reported, one_that_cannot_be_executed_is_reported_too,
                    the_server_keeps_its_signals, nothing_is_lost_when_it_stops,
                    what_has_not_begun_can_be_cancelled, what_is_finished_cannot_be_cancelled,
                    several_threads_start_each_program_once, a_fork_of_the_process_has_no_threads,
                    an_exit_that_is_seen_before_the_start_is_told, exits_of_strangers_are_forgotten,
                    exits_before_a_program_was_ordered_are_not_its_own});
}
