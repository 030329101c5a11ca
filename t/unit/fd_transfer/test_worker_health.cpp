// SPDX-License-Identifier: BSD-3-Clause
// When a service counts as down.
#include "mod_fd_transfer/worker_health.h"
#include "suite.h"

using fd_transfer::WorkerHealth;

namespace {

constexpr int exited = 1 << 8;             // status 1, as waitpid(2) tells it
constexpr int configuration = EX_CONFIG << 8;
constexpr int64_t brief = WorkerHealth::healthy_run - 1;

void run(WorkerHealth& health, int status, int64_t ran, bool received = false) {
    health.started();
    health.ended(status, ran, received);
}

START_TEST(workers_that_end_at_once) {
    WorkerHealth health;
    ck_assert(!health.down());
    for (unsigned i = 1; i < WorkerHealth::failures_max; ++i) {
        run(health, exited, 1);
        ck_assert(!health.down());
    }
    run(health, exited, brief);
    ck_assert(health.down());
    health.started();  // while one lives, it may be the one that works
    ck_assert(!health.down());
    health.ended(exited, brief, false);
    ck_assert(health.down());
}
END_TEST

START_TEST(a_sibling_lives) {
    WorkerHealth health;
    health.started();
    for (int i = 0; i < 10; ++i) run(health, exited, 1);
    ck_assert(!health.down());
    health.ended(exited, 1, false);
    ck_assert(health.down());
}
END_TEST

START_TEST(who_has_worked_is_not_at_fault) {
    for (const bool received : {false, true}) {
        WorkerHealth health;
        run(health, exited, 1);
        run(health, exited, 1);
        run(health, exited, received ? 1 : WorkerHealth::healthy_run, received);
        run(health, exited, 1);
        run(health, exited, 1);
        ck_assert(!health.down());
        run(health, exited, 1);
        ck_assert(health.down());
    }
}
END_TEST

START_TEST(a_configuration_error_needs_no_second_try) {
    WorkerHealth health;
    run(health, configuration, WorkerHealth::healthy_run * 10, true);
    ck_assert(health.down());
}
END_TEST

START_TEST(a_program_that_cannot_be_started) {
    WorkerHealth health;
    for (unsigned i = 0; i < WorkerHealth::failures_max; ++i) {
        ck_assert(!health.down());
        health.failed();
    }
    ck_assert(health.down());
}
END_TEST

START_TEST(what_is_not_known_is_not_alive) {
    WorkerHealth health;
    health.started();
    health.forget();
    health.ended(exited, 1, false);  // told late
    ck_assert(!health.down());
    run(health, exited, 1);
    run(health, exited, 1);
    ck_assert(health.down());
}
END_TEST

}  // namespace

int main() {
    return run_suite("worker health",
                     {workers_that_end_at_once, a_sibling_lives, who_has_worked_is_not_at_fault,
                      a_configuration_error_needs_no_second_try, a_program_that_cannot_be_started,
                      what_is_not_known_is_not_alive});
}
