// SPDX-License-Identifier: BSD-3-Clause
// The opening handshake at lighttpd's side.
#include "mod_wscgi/handshake.h"

#include <strings.h>

#include <algorithm>
#include <vector>

#include "lighty/options.h"
#include "mod_wscgi/endpoint.h"

namespace wscgi {
namespace {

using lighty::view;

bool equals(std::string_view a, std::string_view b) {
    return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

bool is_http2(const request_st* r) { return r->http_version > HTTP_VERSION_1_1; }

std::vector<ws::Field> fields_of(const request_st* r) {
    std::vector<ws::Field> fields;
    for (uint32_t i = 0; i < r->rqst_headers.used; ++i) {
        const auto& field = *reinterpret_cast<const data_string*>(r->rqst_headers.data[i]);
        fields.push_back({view(field.key), view(field.value)});
    }
    return fields;
}

ws::Request::Version version_of(const request_st* r) {
    if (is_http2(r)) return ws::Request::Version::http_2;
    return r->http_version == HTTP_VERSION_1_1 ? ws::Request::Version::http_1_1
                                               : ws::Request::Version::http_1_0;
}

std::string_view header(request_st* r, std::string_view name) {
    return view(http_header_request_get(r, HTTP_HEADER_OTHER, name.data(),
                                        static_cast<uint32_t>(name.size())));
}

void set_response_field(request_st* r, std::string_view name, std::string_view value) {
    const auto id = static_cast<http_header_e>(
        http_header_hkey_get(name.data(), static_cast<uint32_t>(name.size())));
    http_header_response_set(r, id, name.data(), static_cast<uint32_t>(name.size()), value.data(),
                             static_cast<uint32_t>(value.size()));
}

// RFC 6455 10.2. A browser always sends Origin; a request without it comes from a program, which
// could send any.
std::string origin_complaint(request_st* r, const Endpoint& endpoint) {
    const std::string_view origin = header(r, "Origin");
    if (origin.empty()) return {};
    for (const std::string& allowed : endpoint.origins)
        if (allowed == "*" || equals(allowed, origin)) return {};
    const size_t scheme = origin.find("://");
    const std::string_view host = view(r->http_host);
    if (scheme != origin.npos && !host.empty() && equals(origin.substr(scheme + 3), host))
        return {};
    return "origin \"" + std::string(origin) + "\" is neither this host nor in \"origins\"";
}

}  // namespace

bool is_websocket_request(const request_st* r) {
    if (is_http2(r)) return r->h2_connect_ext != 0;
    const buffer* const upgrade =
        http_header_request_get(r, HTTP_HEADER_UPGRADE, CONST_STR_LEN("Upgrade"));
    return upgrade && http_header_str_contains_token(upgrade->ptr, buffer_clen(upgrade),
                                                     CONST_STR_LEN("websocket"));
}

Answer check_origin_and_body(request_st* r, const Endpoint& endpoint) {
    // Over HTTP/2 the session itself is what follows, of a length that is not known.
    if (is_http2(r) ? r->reqbody_length > 0 : r->reqbody_length != 0)
        return {400, "a WebSocket request has no body"};
    if (std::string complaint = origin_complaint(r, endpoint); !complaint.empty())
        return {403, std::move(complaint)};
    return {is_http2(r) ? 200 : 101};
}

Answer answer(request_st* r, const Endpoint& endpoint) {
    if (Answer first = check_origin_and_body(r, endpoint); !first.accepted()) return first;

    const std::vector<ws::Field> fields = fields_of(r);
    ws::Request request;
    request.version = version_of(r);
    request.method = view(http_method_buf(r->http_method));
    request.protocol = is_http2(r) ? "websocket" : "";
    request.fields = fields;
    const std::vector<std::string_view> subprotocols(endpoint.subprotocols.begin(),
                                                     endpoint.subprotocols.end());
    ws::ServerOptions options;
    options.subprotocols = subprotocols;
    // Without takeover, compressors are needed only while a message passes, and few serve many.
    if (endpoint.deflate) options.deflate = {true, true, 15, 15};
    const ws::ServerHandshake handshake = ws::answer(request, options);

    std::array<ws::Field, ws::max_response_fields> space;
    Answer answer = {handshake.status, handshake.reason, std::string(handshake.subprotocol),
                     std::string(handshake.extensions.view()), handshake.deflate};
    for (const ws::Field& field : handshake.fields(space))
        answer.fields.emplace_back(field.name, field.value);
    return answer;
}

void set_fields(request_st* r, const Answer& answer) {
    for (const auto& [name, value] : answer.fields) set_response_field(r, name, value);
}

void set_program_fields(request_st* r, const ProgramHeaders& headers) {
    for (const auto& [name, value] : headers.fields) {
        if (equals(name, "Content-Length") || equals(name, "Transfer-Encoding")) continue;
        if (is_http2(r) && (equals(name, "Upgrade") || equals(name, "Connection") ||
                            equals(name, "Sec-WebSocket-Accept")))
            continue;
        const auto id = static_cast<http_header_e>(
            http_header_hkey_get(name.data(), static_cast<uint32_t>(name.size())));
        // Set-Cookie may come more than once, and each must stay a field of its own.
        http_header_response_insert(r, id, name.data(), static_cast<uint32_t>(name.size()),
                                    value.data(), static_cast<uint32_t>(value.size()));
    }
}

}  // namespace wscgi
