// SPDX-License-Identifier: BSD-3-Clause
// mod_wscgi as lighttpd sees it: its hooks, and nothing else.
#include <stdlib.h>

#include <unordered_set>

#include "lighty/compat.h"
#include "lighty/options.h"
#include "mod_wscgi/configuration.h"
#include "mod_wscgi/handshake.h"
#include "mod_wscgi/session.h"

namespace wscgi {
namespace {

// How long a stopping server waits for its programs between SIGTERM and SIGKILL, in seconds.
constexpr int64_t grace_at_exit = 2;

struct Module {
    Configuration configuration;
    process::ProgramTable programs;
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

void* init() {
    auto* const plugin_data = static_cast<PluginData*>(calloc(1, sizeof(PluginData)));
    if (plugin_data) plugin_data->module = new Module;
    return plugin_data;
}

void cleanup(void* plugin_data) {
    Module& module = module_of(plugin_data);
    module.programs.end_all(grace_at_exit);
    delete &module;
}

handler_t set_defaults(server* srv, void* plugin_data) {
    const bool good =
        module_of(plugin_data)
            .configuration.read(
                srv, static_cast<plugin_data_base*>(static_cast<PluginData*>(plugin_data)));
    return good ? HANDLER_GO_ON : HANDLER_ERROR;
}

// CGI's SCRIPT_NAME is what names the program, PATH_INFO what follows.
void split_path(request_st* r, const Endpoint& endpoint) {
    const std::string_view path = lighty::view(r->uri.path);
    const std::string_view name = script_name(endpoint, path);
    buffer_copy_string_len(&r->pathinfo, path.data() + name.size(), path.size() - name.size());
    buffer_truncate(&r->uri.path, static_cast<uint32_t>(name.size()));
}

handler_t handle_uri_clean(request_st* r, void* plugin_data) {
    if (r->handler_module || !is_websocket_request(r)) return HANDLER_GO_ON;
    PluginData* const data = static_cast<PluginData*>(plugin_data);
    Module& module = *data->module;
    Endpoint* const endpoint = module.configuration.find(r, data);
    if (!endpoint) return HANDLER_GO_ON;

    split_path(r, *endpoint);
    Session* const session = new Session(r, *endpoint, module.programs);
    module.sessions.insert(session);
    session_of(r, data) = session;
    lighty::set_handler_module(r, data);
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
    module.programs.tick(log_monotonic_secs);
    for (Session* const session : module.sessions) {
        if (lighty::is_stopping(srv)) session->shut_down();
        session->tick();
    }
    return HANDLER_GO_ON;
}

handler_t handle_waitpid(server*, void* plugin_data, pid_t pid, int status) {
    return module_of(plugin_data).programs.reaped(pid, status) ? HANDLER_FINISHED : HANDLER_GO_ON;
}

}  // namespace
}  // namespace wscgi

extern "C" __attribute__((visibility("default"))) int mod_wscgi_plugin_init(plugin* p) {
    p->version = lighty::server_version_id();
    p->name = "wscgi";
    p->init = wscgi::init;
    p->cleanup = wscgi::cleanup;
    p->set_defaults = wscgi::set_defaults;
    p->handle_uri_clean = wscgi::handle_uri_clean;
    p->handle_subrequest = wscgi::handle_subrequest;
    p->handle_request_reset = wscgi::handle_request_reset;
    p->handle_trigger = wscgi::handle_trigger;
    p->handle_waitpid = wscgi::handle_waitpid;
    return 0;
}
