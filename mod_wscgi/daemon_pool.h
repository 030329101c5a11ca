// SPDX-License-Identifier: BSD-3-Clause
// The daemons that we start ourselves: several processes that accept on one listening socket, their
// stdin. One that ends is started again, ever more slowly. While none stays nobody listens either:
// whoever has waited in the socket's queue is let go, and who comes is refused.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "mod_wscgi/error_output.h"
#include "process/back_off.h"
#include "process/file_descriptor.h"
#include "process/program_table.h"

namespace wscgi {

struct Endpoint;
struct Address;

class DaemonPool {
  public:
    // All must outlive the pool.
    DaemonPool(const Endpoint& endpoint, process::ProgramTable& table, server* srv);
    DaemonPool(const DaemonPool&) = delete;
    DaemonPool& operator=(const DaemonPool&) = delete;
    ~DaemonPool();

    // Listens at `address`, which is a unix socket's path, or empty: then a path is made in a new
    // directory that only we may enter, and `address`, which must outlive the pool, is set. Starts
    // the processes. An empty text, or what has failed.
    std::string start(Address& address);

    // To be called about once a second: starts what is due.
    void tick(int64_t now);

  private:
    struct Process : process::ProgramTable::Owner {
        explicit Process(DaemonPool& pool) : pool(pool) {}
        void program_exited(int status) override;

        DaemonPool& pool;
        pid_t pid = -1;
        int64_t started = 0;
        int64_t due = 0;  // when it is to be started (again)
        process::BackOff back_off{60, 60};
        ErrorOutput error;
    };

    std::string listen();
    std::string spawn(Process& process);
    void stop_listening_if_down(int64_t now);

    const Endpoint& endpoint_;
    process::ProgramTable& table_;
    server* srv_;
    std::string directory_;  // that we have made
    std::string path_;       // of the socket
    Address* address_ = nullptr;
    process::FileDescriptor listening_;
    int64_t down_since_ = 0;  // no process was there, and none has stayed for a while since
    std::vector<std::unique_ptr<Process>> processes_;
};

}  // namespace wscgi
