// SPDX-License-Identifier: BSD-3-Clause
// The most that can be had of sessions with a process each: starts a program with posix_spawn(3)
// and waits for its end, so many at a time. stdin is empty, stdout discarded.
//
// Usage: spawn_loop AT_A_TIME SECONDS PROGRAM [ARGUMENT]...      prints processes per
// second, and the CPU seconds for each: its own, and the program's
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

namespace {

double now() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

double cpu_of(int who) {
    rusage used;
    getrusage(who, &used);
    return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}

}  // namespace

int main(int count, char** arguments) {
    if (count < 4) {
        fprintf(stderr, "usage: spawn_loop AT_A_TIME SECONDS PROGRAM [ARGUMENT]...\n");
        return 2;
    }
    const int at_a_time = atoi(arguments[1]);
    const double seconds = atof(arguments[2]);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);

    const double start = now();
    long ended = 0;
    for (int running = 0; running > 0 || now() - start < seconds;) {
        while (running < at_a_time && now() - start < seconds) {
            pid_t pid;
            if (posix_spawn(&pid, arguments[3], &actions, nullptr, arguments + 3, environ) != 0) {
                perror(arguments[3]);
                return 1;
            }
            ++running;
        }
        if (running > 0 && wait(nullptr) > 0) {
            --running;
            ++ended;
        }
    }
    const double programs = static_cast<double>(ended);
    printf("%.1f %.9f %.9f\n", programs / (now() - start), cpu_of(RUSAGE_SELF) / programs,
           cpu_of(RUSAGE_CHILDREN) / programs);
}
