// SPDX-License-Identifier: BSD-3-Clause
// From a request to a record on the queue: what the module does at lighttpd's request hooks.
#pragma once

#include "lighty/lighttpd.h"
#include "mod_fd_transfer/service.h"

namespace fd_transfer {

class Transfer;

// The plugin data that lighttpd keeps for the module.
struct PluginData {
    PLUGIN_DATA;
    Transfer* transfer;
};

// lighttpd's hooks; `plugin_data` is a PluginData.
handler_t handle_request_raw(request_st* r, void* plugin_data);
handler_t handle_uri_clean(request_st* r, void* plugin_data);
handler_t handle_subrequest(request_st* r, void* plugin_data);
handler_t handle_response_start(request_st* r, void* plugin_data);
handler_t handle_request_reset(request_st* r, void* plugin_data);

// Which of the server's listening sockets this connection came from.
uint32_t socket_index(const connection* con);

// Before a request is sent: what was read after its head joins the data; false, logged, if a file
// that lighttpd put the body into cannot be read. And afterwards: if the
// connection is kept, lighttpd drops what it has read, now, since the connection may come back in
// this very turn; otherwise all is as before.
[[nodiscard]] bool gather(Pending& pending);
void after_attempt(Pending& pending, bool held);

// Sends a request that has been waiting.
Service::Outcome send_pending(Pending& pending);

}  // namespace fd_transfer
