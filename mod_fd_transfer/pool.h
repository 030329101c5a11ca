// SPDX-License-Identifier: BSD-3-Clause
// The workers that lighttpd starts, as lighttpd sees them: through the supervisor.
#pragma once

#include <memory>
#include <vector>

#include "lighty/lighttpd.h"
#include "mod_fd_transfer/service.h"
#include "process/file_descriptor.h"

namespace fd_transfer {

struct Notice;

class Pool {
  public:
    // The services stay the caller's and outlive the pool.
    Pool(const std::vector<std::unique_ptr<Service>>& services, server* srv);
    ~Pool() { close(); }
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    // Starts the workers of all services that have some. False, logged, if that is impossible.
    bool start();
    // Once a second: replaces a supervisor that has died.
    void trigger();

  private:
    // A service and its place with the supervisor.
    struct Member {
        Service* service;
        bool wanted;      // false: when the first request comes
        int failure = 0;  // errno of the last attempt to start a worker; 0: it was started
    };

    static handler_t on_event(void* pool, int events);
    void order(uint32_t member);
    bool read_notice();
    void on_failed(Member& member, const Notice& notice);
    void log_ended(const Service& service, pid_t pid, int status) const;
    void forget_workers();
    void close();

    server* srv_;
    std::vector<Member> members_;  // the services with workers of their own
    process::FileDescriptor control_;
    fdnode* node_ = nullptr;
};

}  // namespace fd_transfer
