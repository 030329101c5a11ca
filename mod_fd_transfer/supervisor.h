// SPDX-License-Identifier: BSD-3-Clause
// The process between lighttpd and the workers: starts them, restarts them with back-off, and sees
// them to their end.
//
// Workers outlive lighttpd's configuration: after SIGUSR1 they finish the responses that they
// hold, which may take hours, while lighttpd waits for all of *its* children to exit before it
// reads the configuration anew. So they are children of a process that is no child of lighttpd.
// It ends by itself: when the control socket closes (lighttpd has gone, or begun anew), each worker
// is at the end of its queue; it has one grace period to finish, another one after SIGTERM, then
// comes SIGKILL.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "mod_fd_transfer/configuration.h"
#include "process/file_descriptor.h"

namespace fd_transfer {

// A service as the supervisor sees it. The settings must stay where they are while start() runs.
struct Supervised {
    const Settings* settings;
    int queue;    // the end that each worker gets as fd 0
    bool wanted;  // start the workers at once
};

// One message from supervisor to lighttpd.
struct Notice {
    enum Kind : uint32_t { started, ended, failed } kind;
    uint32_t service;  // index
    pid_t pid;
    int status;     // ended: of waitpid(2). failed: errno
    int64_t ran;    // ended: milliseconds
    char step[16];  // failed: what failed, "execve" for instance
};

// One message from lighttpd to supervisor: start this service's workers now (they are "on demand").
struct Order {
    uint32_t service;
};

// Forks the supervisor. Returns lighttpd's end of the control socket (SEQPACKET, non-blocking):
// notices come in, orders go out, end of file means that the supervisor has died. Closing it ends
// all workers. No descriptor if that failed; see errno.
process::FileDescriptor start_supervisor(const std::vector<Supervised>& services);

}  // namespace fd_transfer
