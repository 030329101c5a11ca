// SPDX-License-Identifier: BSD-3-Clause
// An endpoint, and what runs for it in this process.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "mod_wscgi/daemon.h"
#include "mod_wscgi/daemon_pool.h"
#include "mod_wscgi/endpoint.h"
#include "mod_wscgi/shared_program.h"

namespace wscgi {

struct Service : Endpoint {
    Daemons daemons;                        // model daemon
    std::unique_ptr<DaemonPool> pool;       // model daemon, started by us
    std::unique_ptr<SharedProgram> shared;  // model shared

    uint32_t sessions = 0;
    std::unordered_map<std::string, uint32_t> sessions_of_address;
};

}  // namespace wscgi
