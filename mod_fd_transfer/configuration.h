// SPDX-License-Identifier: BSD-3-Clause
// What the administrator wrote: the directive fd-transfer.server, read and judged.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lighty/program_options.h"

namespace fd_transfer {

// When a request is handed over: after access control, authentication and rewriting, or before.
enum class Stage { uri, raw };

// How a body reaches the worker at the stage `uri`.
enum class BodyDelivery {
    stream,  // the worker reads from the client what lighttpd has not read yet
    whole,   // lighttpd reads all of it first
};

// Whether the server keeps each connection until the worker has begun to answer.
enum class Protection {
    automatic,  // as soon as one worker of the service has said hello
    always,
    never,
};

// One entry of the directive. Seconds and bytes unless the name says otherwise.
struct Settings {
    std::string prefix;
    Stage stage = Stage::uri;
    BodyDelivery body = BodyDelivery::stream;

    // Either lighttpd starts the workers ...
    lighty::ProgramOptions program;
    std::optional<lighty::User> user;
    bool on_demand = false;
    int64_t restart_wait = 0;  // the longest
    int64_t grace = 0;
    // ... or it connects to them.
    std::string socket;
    int64_t workers = 0;  // processes, or connections

    int64_t backlog = 0;  // requests
    int64_t deadline = 0;
    int64_t retry_after = 0;
    int64_t queue_bytes = 0;  // 0: the kernel's default
    int64_t max_record = 0;
    int64_t log_status = 0;
    Protection protection = Protection::automatic;
    int64_t max_untaken = 0;  // connections
    int64_t taken_timeout = 0;
    int64_t max_unlogged = 0;  // entries for the access log

    bool spawned() const { return !program.command.empty(); }
};

// Reads one directive's table. Every error is logged; then the result is false and `services` is
// not complete.
bool read_services(const array& table, log_error_st* errh, std::vector<Settings>& services);

// What the module reads of lighttpd.conf: its own directive under two names, and mod_accesslog's,
// to know whether anybody wants to see what we can tell.
extern const config_plugin_keys_t directives[];
inline constexpr int accesslog_format = 2;  // index

}  // namespace fd_transfer
