// SPDX-License-Identifier: BSD-3-Clause
// mod_wscgi as lighttpd sees it: its hooks, and nothing else.
#include <stdlib.h>

#include <unordered_set>

#include "lighty/compat.h"
#include "lighty/options.h"
#include "lighty/watch.h"
#include "mod_wscgi/configuration.h"
#include "mod_wscgi/handshake.h"
#include "mod_wscgi/session.h"

namespace wscgi {
namespace {

// How long a stopping server waits for its programs between SIGTERM and SIGKILL, in seconds.
constexpr int64_t grace_at_exit = 2;

struct Module {
    Configuration configuration;
    Common common;
    std::unordered_set<Session*> sessions;
};

// Allocated with calloc() and freed by lighttpd, hence plain.
struct PluginData : plugin_data_base {
    Module* module;
};

Module& module_of(void* plugin_data) { return *static_cast<PluginData*>(plugin_data)->module; }

Session*& session_of(request_st* r, const void* plugin_data) {
    const int id = static_cast<const PluginData*>(plugin_data)->id;
    return reinterpret_cast<Session*&>(r->plugin_ctx[id]);
}

plugin* own_table();

void* init() {
    auto* const plugin_data = static_cast<PluginData*>(calloc(1, sizeof(PluginData)));
    if (!plugin_data) return nullptr;
    plugin_data->self = own_table();
    plugin_data->module = new Module;
    return plugin_data;
}

void cleanup(void* plugin_data) {
    Module& module = module_of(plugin_data);
    module.common.starter.stop();
    module.common.programs.end_all(grace_at_exit);
    delete &module;
    lighty::close_scheduled();
}

// Each of lighttpd's workers starts daemons of its own, and they cannot listen at one path.
bool sockets_are_free(server* srv, Module& module) {
    bool good = true;
    module.configuration.for_each_service([&](Service& service) {
        if (!srv->srvconf.max_worker || service.model != Model::daemon || service.command.empty() ||
            service.daemons.addresses.empty())
            return;
        lighty::report(srv->errh, "wscgi.server \"" + service.prefix + "\" \"socket\"",
                       "is one path, and server.max-worker makes several lighttpds",
                       "leave \"socket\" out, or set server.max-worker = 0");
        good = false;
    });
    return good;
}

// With this feature a reload leaves the connections to a fork of lighttpd, which has not the
// threads that start programs, and is not told when they end: they are not its children.
void keep_programs_and_connections_together(server* srv, Module& module) {
    bool starts = module.configuration.has_programs_of_sessions();
    module.configuration.for_each_service([&](const Service& service) {
        starts = starts || (service.model != Model::session && !service.command.empty());
    });
    if (starts && lighty::switch_off_feature(srv, "server.graceful-restart-bg"))
        log_error(srv->errh, __FILE__, __LINE__,
                  "server.graceful-restart-bg disabled (incompatible with the programs of "
                  "mod_wscgi)");
}

handler_t set_defaults(server* srv, void* plugin_data) {
    const bool good =
        module_of(plugin_data)
            .configuration.read(
                srv, static_cast<plugin_data_base*>(static_cast<PluginData*>(plugin_data)));
    if (!good || !sockets_are_free(srv, module_of(plugin_data))) return HANDLER_ERROR;
    keep_programs_and_connections_together(srv, module_of(plugin_data));
    return HANDLER_GO_ON;
}

// What runs without a session is started by the process that serves, after lighttpd has divided
// itself into workers.
handler_t worker_init(server* srv, void* plugin_data) {
    Module& module = module_of(plugin_data);
    bool good = true;
    module.configuration.for_each_service([&](Service& service) {
        if (service.model == Model::shared)
            service.shared = std::make_unique<SharedProgram>(service, module.common.programs, srv);
        if (service.model != Model::daemon || service.command.empty()) return;
        service.pool = std::make_unique<DaemonPool>(service, module.common.programs, srv);
        if (service.daemons.addresses.empty())
            service.daemons.addresses.push_back(std::make_unique<Address>());
        const std::string error = service.pool->start(*service.daemons.addresses[0]);
        if (error.empty()) return;
        lighty::report(srv->errh, "wscgi.server \"" + service.prefix + '"', error,
                       "start lighttpd as a user who may do that");
        good = false;
    });
    if (module.configuration.has_programs_of_sessions()) {
        const std::string error = module.common.starter.open(srv);
        if (!error.empty())
            log_error(srv->errh, __FILE__, __LINE__,
                      "wscgi: %s; each start of a session's program will hold up all sessions",
                      error.c_str());
    }
    return good ? HANDLER_GO_ON : HANDLER_ERROR;
}

void begin_session(request_st* r, PluginData* data, Target target) {
    Module& module = *data->module;
    Session* const session =
        new Session(r, *target.service, std::move(target.command), module.common);
    module.sessions.insert(session);
    session_of(r, data) = session;
    lighty::set_handler_module(r, data);
}

// wscgi.server. What asks for no WebSocket is left to other modules.
handler_t handle_uri_clean(request_st* r, void* plugin_data) {
    if (r->handler_module || !is_websocket_request(r)) return HANDLER_GO_ON;
    PluginData* const data = static_cast<PluginData*>(plugin_data);
    Target target = data->module->configuration.find_by_url(r, data);
    if (!target.service) return HANDLER_GO_ON;
    begin_session(r, data, std::move(target));
    return HANDLER_GO_ON;
}

// wscgi.assign. What asks for no WebSocket is refused: the file must not be sent as it is.
handler_t handle_subrequest_start(request_st* r, void* plugin_data) {
    if (r->handler_module) return HANDLER_GO_ON;
    PluginData* const data = static_cast<PluginData*>(plugin_data);
    Target target = data->module->configuration.find_by_file(r, data);
    const stat_cache_st* const file =
        target.service ? stat_cache_path_stat(&r->physical.path) : nullptr;
    if (!file || !S_ISREG(file->st_mode)) return HANDLER_GO_ON;
    begin_session(r, data, std::move(target));
    return HANDLER_GO_ON;
}

handler_t handle_subrequest(request_st* r, void* plugin_data) {
    Session* const session = session_of(r, plugin_data);
    return session ? session->run() : HANDLER_GO_ON;
}

handler_t handle_request_reset(request_st* r, void* plugin_data) {
    Session*& session = session_of(r, plugin_data);
    if (!session) return HANDLER_GO_ON;
    module_of(plugin_data).sessions.erase(session);
    delete session;
    session = nullptr;
    return HANDLER_GO_ON;
}

handler_t handle_trigger(server* srv, void* plugin_data) {
    Module& module = module_of(plugin_data);
    // A second old: lighttpd sets it after the triggers. So who counts from it as it is elsewhere
    // is never too early here.
    module.common.programs.tick(log_monotonic_secs);
    module.configuration.for_each_service([](Service& service) {
        if (service.pool) service.pool->tick(log_monotonic_secs);
        if (service.shared) service.shared->tick(log_monotonic_secs);
    });
    Traffic traffic = module.common.traffic;
    for (Session* const session : module.sessions) {
        if (lighty::is_stopping(srv)) session->shut_down();
        session->tick();
        traffic += session->traffic();
    }
    show(traffic);
    return HANDLER_GO_ON;
}

handler_t handle_waitpid(server*, void* plugin_data, pid_t pid, int status) {
    return module_of(plugin_data).common.programs.reaped(pid, status) ? HANDLER_FINISHED
                                                                      : HANDLER_GO_ON;
}

void set_hooks(plugin& p) {
    p.version = lighty::server_version_id();
    p.name = "wscgi";
    p.init = init;
    p.cleanup = cleanup;
    p.set_defaults = set_defaults;
    p.worker_init = worker_init;
    p.handle_uri_clean = handle_uri_clean;
    p.handle_subrequest_start = handle_subrequest_start;
    p.handle_subrequest = handle_subrequest;
    p.handle_request_reset = handle_request_reset;
    p.handle_trigger = handle_trigger;
    p.handle_waitpid = handle_waitpid;
}

// Our own table, as modules keep one since lighttpd 1.4.83. Without it the server makes a copy, and
// loses it at a reload if the module's code has stayed in memory, as C++ code may.
plugin* own_table() {
    static plugin table = {};
    set_hooks(table);
    return &table;
}

}  // namespace
}  // namespace wscgi

extern "C" __attribute__((visibility("default"))) int mod_wscgi_plugin_init(plugin* p) {
    wscgi::set_hooks(*p);
    return 0;
}
