// SPDX-License-Identifier: BSD-3-Clause
// Starts programs from threads of its own: spawn() returns when the program's file has been
// executed, which on a busy machine, or from a slow disk, is too long for an event loop to wait.
//
// Between vfork(2) and execve(2) the program borrows the memory of a server that goes on. That is
// safe, because it writes to nothing but the stack and errno of the thread that waits for it.
#pragma once

#include <pthread.h>
#include <sys/types.h>

#include <memory>
#include <vector>

#include "process/spawn.h"

namespace process {

class Spawner {
  public:
    // One program to be started. A derived class owns what `program` points to, which nobody may
    // change until it is finished. No death_signal: it would be sent when the thread ends.
    struct Order {
        virtual ~Order() = default;
        Program program;
        Spawned result;  // once it is finished
    };

    Spawner();
    Spawner(const Spawner&) = delete;
    Spawner& operator=(const Spawner&) = delete;
    ~Spawner();

    // Starts so many threads, which take no signals and open no descriptors. False, with errno set,
    // if they cannot be had.
    bool open(int threads);
    // False before open() and after stop(); and in a fork of the process, because threads do not
    // survive that: what was ordered before is never finished there.
    bool is_open() const;

    // Becomes readable when orders are finished. Owned by the spawner.
    int fd() const;

    // The functions below are for the thread that called open(), and while it is open.
    void start(std::unique_ptr<Order> order);
    // Drops an order that has not begun; false, and nothing is done, if it has, or is finished.
    bool cancel(const Order* order);
    // Those that were finished since the last call.
    std::vector<std::unique_ptr<Order>> finished();

    // Drops what has not begun, waits for what has, ends the threads. The result: as finished().
    std::vector<std::unique_ptr<Order>> stop();

  private:
    struct Shared;  // by all threads
    static void* run(void* shared);

    std::unique_ptr<Shared> shared_;
    std::vector<pthread_t> threads_;
    pid_t owner_ = -1;  // the process that has the threads
};

}  // namespace process
