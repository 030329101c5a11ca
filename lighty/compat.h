// SPDX-License-Identifier: BSD-3-Clause
// What differs between the versions of lighttpd that we support, in one place.
//
// Differences in types are found out by the compiler ("does this struct have that member?"), not
// by version numbers: distributions patch. Differences in the running server (is it patched with
// our hook? which version id does it want?) are found out at load time.
#pragma once

#include <string_view>
#include <type_traits>

#include "lighty/lighttpd.h"

namespace lighty {

// The signature of the hook that our patches add to lighttpd; see patches/.
using RequestRawHook = handler_t (*)(request_st*, void*);

// True if the running server has our patches: it calls handle_request_raw and can forward a
// connection. Fixed for the life of the process.
bool server_has_request_raw();

// Registers the hook until the server unloads its modules; call it from set_defaults. Does nothing
// in a server without our patches.
void register_request_raw(RequestRawHook hook, void* plugin_data);

// True if this request's connection may be handed over now: HTTP/1.x without TLS, and nothing of a
// response has been sent or is waiting to be sent. Check it before the socket is sent.
bool can_forward(const request_st* r);

// Tells the server that the connection has a new owner: once the handler returns, the server
// releases it without touching the socket. False if the server cannot do that: it has no patches,
// or it refused, which it logs.
bool forward(request_st* r);

// The version id that the running server wants of its modules. meson and cmake builds of lighttpd
// count it otherwise than autotools builds do, such as Debian's package; both are accepted as
// long as they are of the version that this module was compiled for.
size_t server_version_id();

// Makes the module with this plugin data answer the request.
template <class Request, class PluginData>
void set_handler_module(Request* r, PluginData* data) {
    if constexpr (std::is_same_v<decltype(r->handler_module), const plugin*>)
        r->handler_module = data->self;
    else
        r->handler_module = reinterpret_cast<decltype(r->handler_module)>(data);
}

template <class Request, class PluginData>
bool is_handler_module(const Request* r, const PluginData* data) {
    if constexpr (std::is_same_v<decltype(r->handler_module), const plugin*>)
        return r->handler_module == data->self;
    else
        return reinterpret_cast<const void*>(r->handler_module) == data;
}

// Answers with this error status; returns what a handler then returns. With `text` that is the
// body, and the response's header fields are kept; without, lighttpd puts its own error page and
// fields in their place.
handler_t refuse(request_st* r, int status, std::string_view text = {});

// Ends a request on a connection of HTTP/1.1 as if its response had been written: it is logged, and
// the next one can be read. The caller then lets the connection's state machine run.
void begin_next_request(request_st* r);

// The address of the client, as mod_extforward may have corrected it.
inline const buffer& client_address_buffer(const request_st* r) {
    const auto of = [](const auto* request) -> const buffer& {
        if constexpr (requires { request->dst_addr_buf; })
            return *request->dst_addr_buf;
        else
            return request->con->dst_addr_buf;
    };
    return of(r);
}

inline std::string_view client_address(const request_st* r) {
    const buffer& text = client_address_buffer(r);
    return {text.ptr, buffer_clen(&text)};
}

inline const sock_addr& client_sock_addr(const request_st* r) {
    const auto of = [](const auto* request) -> const sock_addr& {
        if constexpr (requires { request->dst_addr; })
            return *static_cast<const sock_addr*>(request->dst_addr);
        else
            return request->con->dst_addr;
    };
    return of(r);
}

// Where this request begins in the counts of its connection's bytes, for the access log.
template <class Request>
off_t& written_checkpoint(Request* r) {
    if constexpr (requires { r->x.h1.bytes_written_ckpt; })
        return r->x.h1.bytes_written_ckpt;
    else
        return r->bytes_written_ckpt;
}

template <class Request>
off_t& read_checkpoint(Request* r) {
    if constexpr (requires { r->x.h1.bytes_read_ckpt; })
        return r->x.h1.bytes_read_ckpt;
    else
        return r->bytes_read_ckpt;
}

// Whether the server has begun to stop, or to re-read its configuration: it waits only for the
// connections that are open.
bool is_stopping(const server* srv);

// Whether it has closed its listening sockets for good, and its logs: it frees its connections, then
// its modules.
inline bool is_ending(const server* srv) { return srv->srv_sockets.used == 0; }

// Switches a flag of server.feature-flags off. To be called from set_defaults; true if it was on.
bool switch_off_feature(server* srv, const char* name);

}  // namespace lighty
