// SPDX-License-Identifier: BSD-3-Clause
// The environment variables of a session's program.
#include "mod_wscgi/environment.h"

#include <stdlib.h>

#include "mod_wscgi/endpoint.h"
#include "mod_wscgi/handshake.h"

namespace wscgi {
namespace {

struct Filling {
    process::Environment& environment;
    const process::Environment before;  // what does not come from the client
    std::string collision;
};

// What a program expects of an upgrade, of which HTTP/2 has its own form (RFC 8441). Newer versions
// of lighttpd give the same.
void add_upgrade(process::Environment& environment, request_st* r) {
    environment.add("REQUEST_METHOD", "GET");
    environment.add("SERVER_PROTOCOL", "HTTP/1.1");
    environment.add("HTTP_UPGRADE", "websocket");
    environment.add("HTTP_CONNECTION", "upgrade");
    if (!http_header_request_get(r, HTTP_HEADER_OTHER, CONST_STR_LEN("Sec-WebSocket-Key")))
        environment.add("HTTP_SEC_WEBSOCKET_KEY", "MDAwMDAwMDAwMDAwMDAwMA==");
}

int add_variable(void* context, const char* name, size_t name_size, const char* value,
                 size_t value_size) {
    Filling& filling = *static_cast<Filling*>(context);
    const std::string_view variable(name, name_size);
    const bool added = filling.environment.add(variable, {value, value_size});
    // RFC 3875 4.1.9: the address stands in for a name that nobody has looked up.
    if (variable == "REMOTE_ADDR") filling.environment.add("REMOTE_HOST", {value, value_size});
    if (!added && variable.starts_with("HTTP_") && !filling.before.contains(variable))
        filling.collision = variable;
    return 0;
}

}  // namespace

std::string fill_environment(process::Environment& environment, request_st* r,
                             const Endpoint& endpoint, const std::string& session_id,
                             const Answer& answer) {
    environment.add("UNIQUE_ID", session_id);
    if (!answer.subprotocol.empty()) environment.add("WEBSOCKET_PROTOCOL", answer.subprotocol);
    if (!answer.extensions.empty()) environment.add("WEBSOCKET_EXTENSIONS", answer.extensions);
    for (const auto& [name, value] : endpoint.environment) environment.add(name, value);

    // CGI has no word for a body whose length is not known.
    const off_t body_length = r->reqbody_length;
    if (r->reqbody_length < 0) r->reqbody_length = 0;
    if (r->h2_connect_ext) add_upgrade(environment, r);
    Filling filling = {environment, environment, {}};
    http_cgi_opts options = {};
    http_cgi_headers(r, &options, add_variable, &filling);
    r->reqbody_length = body_length;
    if (!filling.collision.empty())
        return "two header fields are both the variable " + filling.collision;

    for (const std::string& name : endpoint.copied_environment)
        if (const char* const value = getenv(name.c_str())) environment.add(name, value);
    if (const char* const path = getenv("PATH")) environment.add("PATH", path);
    return {};
}

}  // namespace wscgi
