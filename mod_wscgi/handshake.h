// SPDX-License-Identifier: BSD-3-Clause
// The opening handshake at lighttpd's side: a request_st in, its response fields out.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "lighty/lighttpd.h"
#include "mod_wscgi/program_headers.h"
#include "ws/handshake.h"

namespace wscgi {

struct Endpoint;

// Whether the request asks for a WebSocket at all; if not, it is no business of ours.
bool is_websocket_request(const request_st* r);

// What a request was answered with: `status` is 101 or 200 if it was accepted; otherwise `reason`
// says why not, for the log.
struct Answer {
    int status = 0;
    std::string reason = {};
    std::string subprotocol = {};
    std::string extensions = {};
    std::optional<ws::DeflateParameters> deflate = {};
    std::vector<std::pair<std::string, std::string>> fields = {};  // of the response

    bool accepted() const { return status == 101 || status == 200; }
};

// Judges the request by RFC 6455 4.2.1 or RFC 8441 and by the endpoint's origins.
Answer answer(request_st* r, const Endpoint& endpoint);

// Sets the response's header fields that the answer asks for.
void set_fields(request_st* r, const Answer& answer);

// For programs that answer themselves: judges only the origin, and that there is no body.
Answer check_origin_and_body(request_st* r, const Endpoint& endpoint);

// Sets the fields that a program has printed. Fields that are lighttpd's own business (framing of
// the response, and on HTTP/2 what is particular to HTTP/1.1) are left out.
void set_program_fields(request_st* r, const ProgramHeaders& headers);

}  // namespace wscgi
