// SPDX-License-Identifier: BSD-3-Clause
// Invariant: a request is accepted or refused with a reason, and never accepted without what RFC
// 6455 4.2.1 demands; a client that gets our answer agrees with it if it asked for it.
#include <algorithm>
#include <vector>

#include "t/fuzz/events.h"
#include "ws/handshake.h"

using ws::Field;

// Lines `name: value`, as text of a request; a first byte for the settings.
static std::vector<Field> parse_fields(std::string_view text) {
    std::vector<Field> fields;
    while (!text.empty()) {
        const auto line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(line.size() + 1, text.size()));
        const auto colon = line.find(':');
        if (colon == line.npos) continue;
        auto value = line.substr(colon + 1);
        while (value.starts_with(' ')) value.remove_prefix(1);
        fields.push_back({line.substr(0, colon), value});
    }
    return fields;
}

static void check_client(const std::vector<Field>& fields, const ws::ServerHandshake& handshake) {
    std::array<Field, ws::max_response_fields> space;
    ws::Response response;
    response.version = handshake.version;
    response.status = handshake.status;
    response.fields = handshake.fields(space);
    const ws::FieldValues keys(fields, "Sec-WebSocket-Key");
    const std::string_view chosen[] = {handshake.subprotocol};
    ws::ClientOptions options;
    if (!handshake.subprotocol.empty()) options.subprotocols = chosen;
    if (handshake.deflate) options.deflate = *handshake.deflate;
    const auto seen = ws::check(response, keys.size() ? keys[0] : "", options);
    fuzz::require(seen.error == nullptr);
    fuzz::require(seen.subprotocol == handshake.subprotocol);
    fuzz::require(seen.deflate == handshake.deflate);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 1) return 0;
    const std::string text(reinterpret_cast<const char*>(data + 1), size - 1);
    const auto fields = parse_fields(text);
    const std::string_view protocols[] = {"chat", "superchat"};
    ws::ServerOptions options;
    options.subprotocols = protocols;
    options.require_subprotocol = data[0] & 1;
    if (data[0] & 2)
        options.deflate = ws::DeflateParameters{bool(data[0] & 4), bool(data[0] & 8),
                                                uint8_t(8 + (data[0] >> 4) % 8), 15};
    for (const auto version : {ws::Request::Version::http_1_1, ws::Request::Version::http_2}) {
        const bool http_2 = version == ws::Request::Version::http_2;
        ws::Request request;
        request.version = version;
        request.method = http_2 ? "CONNECT" : "GET";
        request.protocol = "websocket";
        request.fields = fields;
        const auto handshake = ws::answer(request, options);
        if (!handshake.accepted()) {
            fuzz::require(handshake.status == 400 || handshake.status == 426);
            fuzz::require(*handshake.reason != '\0');
            continue;
        }
        const auto count = [&](std::string_view name) {
            return ws::FieldValues(fields, name).size();
        };
        fuzz::require(count("sec-websocket-version") == 1);
        if (!http_2) fuzz::require(count("HOST") == 1 && count("Sec-WebSocket-Key") == 1);
        if (options.require_subprotocol) fuzz::require(!handshake.subprotocol.empty());
        check_client(fields, handshake);
    }
    return 0;
}
