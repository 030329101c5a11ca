// SPDX-License-Identifier: BSD-3-Clause
// The module's entry, and which of lighttpd's hooks lead where.
#include <stdlib.h>

#include "lighty/compat.h"
#include "mod_fd_transfer/handoff.h"
#include "mod_fd_transfer/transfer.h"

namespace fd_transfer {
namespace {

Transfer& transfer(void* plugin_data) { return *static_cast<PluginData*>(plugin_data)->transfer; }

handler_t set_defaults(server* srv, void* p) {
    if (!transfer(p).configure(srv, static_cast<PluginData*>(p))) return HANDLER_ERROR;
    // Only if it is needed: with the hook, lighttpd merges each request's configuration earlier.
    if (transfer(p).serves(Stage::raw)) lighty::register_request_raw(handle_request_raw, p);
    return HANDLER_GO_ON;
}

handler_t worker_init(server* srv, void* p) {
    return transfer(p).start(srv) ? HANDLER_GO_ON : HANDLER_ERROR;
}

handler_t handle_trigger(server*, void* p) {
    transfer(p).trigger();
    return HANDLER_GO_ON;
}

handler_t handle_connection_close(connection* con, void* p) {
    transfer(p).forget(con);
    return HANDLER_GO_ON;
}

void set_hooks(plugin& p);

// Our own table, as modules keep one since lighttpd 1.4.83. Without it the server makes a copy, and
// loses it at a reload if the module's code has stayed in memory, as C++ code may.
plugin* own_table() {
    static plugin table = {};
    set_hooks(table);
    return &table;
}

void set_hooks(plugin& p) {
    p.name = "fd_transfer";
    p.version = lighty::server_version_id();
    p.init = []() -> void* {
        auto* const data = static_cast<PluginData*>(calloc(1, sizeof(PluginData)));
        if (!data) abort();
        data->self = own_table();
        data->transfer = new Transfer;
        return data;
    };
    p.cleanup = [](void* data) { delete &transfer(data); };
    p.set_defaults = set_defaults;
    p.worker_init = worker_init;
    p.handle_trigger = handle_trigger;
    p.handle_uri_clean = handle_uri_clean;
    p.handle_subrequest = handle_subrequest;
    p.handle_response_start = handle_response_start;
    p.handle_request_reset = handle_request_reset;
    p.handle_connection_close = handle_connection_close;
}

}  // namespace
}  // namespace fd_transfer

extern "C" __attribute__((visibility("default"))) int mod_fd_transfer_plugin_init(plugin* p) {
    fd_transfer::set_hooks(*p);
    return 0;
}
