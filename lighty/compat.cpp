// SPDX-License-Identifier: BSD-3-Clause
// What differs between the versions of lighttpd that we support.
#include "lighty/compat.h"

#include <dlfcn.h>
#include <string.h>

#include <initializer_list>

// Our patches export these. Weak, because a server without the patches lacks them: a strong
// reference would keep our modules from being loaded there.
extern "C" {
__attribute__((weak)) void plugins_register_request_raw(handler_t (*)(request_st*, void*), void*);
__attribute__((weak)) int connection_forward_ok(const request_st*);
__attribute__((weak)) int connection_forward(request_st*);
}

namespace lighty {
namespace {

constexpr size_t autotools_id = 0x10400 + LIGHTTPD_PATCHLEVEL;
constexpr size_t meson_id = 0x10400 + LIGHTTPD_PATCHLEVEL / 10 * 16 + LIGHTTPD_PATCHLEVEL % 10;

// Asks a module that the server has built in, or has loaded before ours.
size_t id_of_stock_module(const char* plugin_init) {
    // The server may know members that our headers do not: room for them.
    alignas(plugin) char room[sizeof(plugin) + 128];
    memset(room, 0, sizeof(room));
    plugin* const p = reinterpret_cast<plugin*>(room);
    using Init = int (*)(plugin*);
    const Init init = reinterpret_cast<Init>(dlsym(RTLD_DEFAULT, plugin_init));
    return init && init(p) == 0 ? p->version : 0;
}

}  // namespace

bool server_has_request_raw() {
    return plugins_register_request_raw && connection_forward_ok && connection_forward;
}

void register_request_raw(RequestRawHook hook, void* plugin_data) {
    if (server_has_request_raw()) plugins_register_request_raw(hook, plugin_data);
}

bool can_forward(const request_st* r) {
    if (server_has_request_raw()) return connection_forward_ok(r);
    const connection* const con = r->con;
    return !con->is_ssl_sock && r->http_version <= HTTP_VERSION_1_1 && r->resp_header_len == 0 &&
           con->write_queue == &r->write_queue && chunkqueue_is_empty(con->write_queue);
}

bool forward(request_st* r) { return server_has_request_raw() && connection_forward(r); }

size_t server_version_id() {
    if (LIGHTTPD_PLUGIN_VERSION_ID != LIGHTTPD_VERSION_ID) return LIGHTTPD_PLUGIN_VERSION_ID;
    for (const char* name : {"mod_indexfile_plugin_init", "mod_staticfile_plugin_init"}) {
        const size_t id = id_of_stock_module(name);
        if (id == autotools_id || id == meson_id) return id;
    }
    return LIGHTTPD_VERSION_ID;
}

handler_t refuse(request_st* r, int status, std::string_view text) {
    r->http_status = status;
    if (text.empty()) {
        r->handler_module = nullptr;  // that is how lighttpd knows that its error page is wanted
        return HANDLER_FINISHED;
    }
    http_header_response_set(r, HTTP_HEADER_CONTENT_TYPE, CONST_STR_LEN("Content-Type"),
                             CONST_STR_LEN("text/plain; charset=utf-8"));
    chunkqueue_append_mem(&r->write_queue, text.data(), text.size());
    r->resp_body_finished = 1;
    return HANDLER_FINISHED;
}

void begin_next_request(request_st* r) {
    if (r->http_status) plugins_call_handle_request_done(r);
    request_reset(r);
    read_checkpoint(r) = r->read_queue.bytes_in;
    written_checkpoint(r) = r->write_queue.bytes_out;
    r->state = CON_STATE_REQUEST_START;
}

bool is_stopping(const server* srv) {
    // With "server.graceful-shutdown-timeout" => 0 no time is set. 1 is: no more connections now.
    return srv->graceful_expire_ts != 0 || srv->sockets_disabled > 1;
}

bool switch_off_feature(server* srv, const char* name) {
    if (!config_feature_bool(srv, name, 0)) return false;
    data_unset* const flag =
        array_get_data_unset(srv->srvconf.feature_flags, name, static_cast<uint32_t>(strlen(name)));
    if (flag->type == TYPE_STRING)
        buffer_copy_string_len(&reinterpret_cast<data_string*>(flag)->value, "false", 5);
    else
        reinterpret_cast<data_integer*>(flag)->value = 0;
    return true;
}

}  // namespace lighty
