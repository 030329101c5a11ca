// SPDX-License-Identifier: BSD-3-Clause
// Reading fd-transfer.server: every value checked when lighttpd starts, and by lighttpd -tt.
#include "mod_fd_transfer/configuration.h"

#include <ctype.h>
#include <sys/un.h>

#include <string_view>

#include "lighty/compat.h"
#include "process/handoff_record.h"

namespace fd_transfer {
namespace {

constexpr size_t longest_socket_path = sizeof(sockaddr_un::sun_path) - 1;

// Paths are matched as they are after decoding, without empty segments and dot segments.
void check_prefix(lighty::Options& options, std::string_view prefix) {
    if (!prefix.starts_with('/'))
        options.fail("", "the prefix does not begin with a slash",
                     "write a URL path such as \"/hot/\"");
    for (const std::string segment : {"//", "/./", "/../"})
        if (prefix.find(segment) != prefix.npos)
            options.fail("",
                         "the prefix matches nothing: paths are matched without \"" + segment + '"',
                         "write \"/\" in its place");
    for (size_t at = 0; (at = prefix.find('%', at)) != prefix.npos; ++at)
        if (at + 2 < prefix.size() && isxdigit(uint8_t(prefix[at + 1])) &&
            isxdigit(uint8_t(prefix[at + 2])))
            return options.fail("", "the prefix is percent-encoded, but paths are matched decoded",
                                "write the characters themselves");
}

void check_external(lighty::Options& options, const Settings& settings) {
    if (!settings.socket.starts_with('/'))
        options.fail("socket", '"' + settings.socket + "\" is no absolute path",
                     "write a path such as \"/run/app.handoff\"");
    for (const char* const key :
         {"arguments", "bin-environment", "bin-copy-environment", "working-directory", "user",
          "limits", "start", "restart-wait", "grace"})
        if (options.has(key))
            options.fail(key,
                         "is for workers that lighttpd starts; those of a \"socket\" run by "
                         "themselves",
                         "leave it out, or set \"bin-path\" instead of \"socket\"");
}

void read_socket(lighty::Options& options, Settings& settings) {
    settings.socket = options.text("socket");
    if (settings.spawned() == !settings.socket.empty())
        options.fail("bin-path", "and \"socket\" are both there, or neither is",
                     "set \"bin-path\" for workers that lighttpd starts, or \"socket\" for "
                     "workers that run by themselves");
    if (settings.socket.size() > longest_socket_path)
        options.fail("socket", '"' + settings.socket + "\" is too long",
                     "use a path of at most " + std::to_string(longest_socket_path) + " bytes");
    if (!settings.spawned() && !settings.socket.empty()) check_external(options, settings);
}

void read_spawning(lighty::Options& options, Settings& settings) {
    settings.user = lighty::read_user(options);
    settings.workers = options.number("workers", 1, 1024, 1);
    settings.on_demand = options.choice("start", {"boot", "demand"}, 0) == 1;
    settings.restart_wait = options.number("restart-wait", 1, 3600, 60);
    settings.grace = options.number("grace", 1, 86400, 30);
}

void read_bounds(lighty::Options& options, Settings& settings) {
    settings.backlog = options.number("backlog", 0, 65535, 1024);
    settings.deadline = options.number("deadline", 1, 3600, 10);
    settings.retry_after = options.number("retry-after", 1, 86400, 5);
    settings.queue_bytes = options.number("queue-bytes", 0, 1 << 30, 0);
    settings.max_record =
        options.number("max-record", 4096, int64_t(process::handoff_memfd_max), 16 << 20);
    settings.log_status = options.number("log-status", 100, 599, 200);
    settings.protection = static_cast<Protection>(
        options.choice("taken", {"auto", "always", "never"}, size_t(Protection::automatic)));
    settings.max_untaken = options.number("max-untaken", 1, 1 << 20, 4096);
    settings.taken_timeout = options.number("taken-timeout", 1, 86400, 60);
    settings.max_unlogged = options.number("max-unlogged", 0, 1 << 20, 1024);
}

void read_stage(lighty::Options& options, Settings& settings) {
    settings.stage = static_cast<Stage>(options.choice("stage", {"uri", "raw"}, 0));
    if (settings.stage == Stage::raw && !lighty::server_has_request_raw())
        options.fail("stage", "\"raw\" needs a lighttpd with our patches, and this one is without",
                     "use \"stage\" => \"uri\", or build lighttpd with patches/");
    settings.body = static_cast<BodyDelivery>(options.choice("body", {"stream", "whole"}, 0));
    if (settings.stage == Stage::raw && settings.body == BodyDelivery::whole)
        options.fail("body",
                     "\"whole\" needs a request that lighttpd has read, and \"stage\" => \"raw\" "
                     "hands over before that",
                     "use \"stage\" => \"uri\", or leave \"body\" out");
}

}  // namespace

const config_plugin_keys_t directives[] = {
    {CONST_STR_LEN("fd-transfer.server"), T_CONFIG_ARRAY_KVARRAY, T_CONFIG_SCOPE_CONNECTION},
    {CONST_STR_LEN("fd_transfer.services"), T_CONFIG_ARRAY_KVARRAY, T_CONFIG_SCOPE_CONNECTION},
    {CONST_STR_LEN("accesslog.format"), T_CONFIG_STRING, T_CONFIG_SCOPE_CONNECTION},
    {nullptr, 0, T_CONFIG_UNSET, T_CONFIG_SCOPE_UNSET}};

bool read_services(const array& table, log_error_st* errh, std::vector<Settings>& services) {
    bool good = true;
    const auto read = [&](std::string_view prefix, lighty::Options& options) {
        Settings settings;
        settings.prefix = prefix;
        check_prefix(options, prefix);
        settings.program = lighty::read_program_options(options);
        read_socket(options, settings);
        read_stage(options, settings);
        read_spawning(options, settings);
        read_bounds(options, settings);
        good = options.finish() && good;
        services.push_back(std::move(settings));
        return true;
    };
    return lighty::for_each_entry(table, "fd-transfer.server", errh, read) && good;
}

}  // namespace fd_transfer
