// SPDX-License-Identifier: BSD-3-Clause
// The opening handshake, both ends of it.
#include "ws/handshake.h"

#include <openssl/evp.h>
#include <openssl/sha.h>

#include <algorithm>

namespace ws {
namespace {

constexpr std::string_view websocket_version = "13";

bool is_http_2(Request::Version v) { return v == Request::Version::http_2; }

// Base64 in OpenSSL's terms: 4 characters for 3 bytes, and a NUL after them.
constexpr size_t base64_size(size_t bytes) { return (bytes + 2) / 3 * 4; }

std::array<uint8_t, SHA_DIGEST_LENGTH> sha1(std::string_view text) {
    // SHA1() would look its algorithm up by name each time, which takes longer than to run it.
    static const EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA1", nullptr);
    std::array<uint8_t, SHA_DIGEST_LENGTH> digest = {};
    EVP_Digest(text.data(), text.size(), digest.data(), nullptr, algorithm, nullptr);
    return digest;
}

template <size_t size>
Text<base64_size(size)> base64(const std::array<uint8_t, size>& bytes) {
    std::array<uint8_t, base64_size(size) + 1> characters;
    EVP_EncodeBlock(characters.data(), bytes.data(), size);
    Text<base64_size(size)> text;
    text.append({reinterpret_cast<const char*>(characters.data()), base64_size(size)});
    return text;
}

// Base64 of 16 bytes, padded with ==.
bool is_key(std::string_view key) {
    if (key.size() != base64_size(16) || !key.ends_with("==")) return false;
    std::array<uint8_t, 18> bytes;
    return EVP_DecodeBlock(bytes.data(), reinterpret_cast<const uint8_t*>(key.data()),
                           static_cast<int>(key.size())) == 18;
}

struct Refusal {
    uint16_t status = 0;  // 0: none
    const char* reason = "";
};

// What makes a request a WebSocket one, except the Sec-WebSocket fields.
Refusal check_method(const Request& request) {
    if (is_http_2(request.version)) {
        if (request.method != "CONNECT") return {405, "WebSocket over HTTP/2 needs CONNECT"};
        if (!equal_ignoring_case(request.protocol, "websocket"))
            return {400, ":protocol is not websocket"};
        return {};
    }
    if (request.method != "GET") return {405, "WebSocket needs the method GET"};
    if (request.version == Request::Version::http_1_0) return {400, "WebSocket needs HTTP/1.1"};
    if (FieldValues(request.fields, "Host").size() != 1) return {400, "exactly one Host is needed"};
    if (!FieldValues(request.fields, "Upgrade").list_has("websocket"))
        return {426, "only WebSocket is spoken here, and Upgrade does not ask for it"};
    if (!FieldValues(request.fields, "Connection").list_has("upgrade"))
        return {400, "Connection does not say Upgrade"};
    return {};
}

Refusal check_version_and_key(const Request& request) {
    const FieldValues versions(request.fields, "Sec-WebSocket-Version");
    if (versions.size() != 1) return {400, "exactly one Sec-WebSocket-Version is needed"};
    if (versions[0] != websocket_version)
        return {426, "only version 13 of WebSocket is spoken here"};
    if (is_http_2(request.version)) return {};  // RFC 8441 5: no key
    const FieldValues keys(request.fields, "Sec-WebSocket-Key");
    if (keys.size() != 1) return {400, "exactly one Sec-WebSocket-Key is needed"};
    if (!is_key(keys[0])) return {400, "Sec-WebSocket-Key is not 16 bytes in base64"};
    return {};
}

bool is_list_of_tokens(std::span<const std::string_view> values) {
    for (const auto value : values) {
        FieldScanner scanner(value);
        while (!scanner.at_end())
            if (const auto member = scanner.list_member(); !member.empty() && !is_token(member))
                return false;
    }
    return true;
}

Refusal negotiate(const Request& request, const ServerOptions& options, ServerHandshake& result) {
    const FieldValues protocols(request.fields, "Sec-WebSocket-Protocol");
    const FieldValues extensions(request.fields, "Sec-WebSocket-Extensions");
    if (protocols.too_many() || !is_list_of_tokens(protocols))
        return {400, "Sec-WebSocket-Protocol is not a list of tokens"};
    result.subprotocol = choose_subprotocol(protocols, options.subprotocols);
    if (options.require_subprotocol && result.subprotocol.empty())
        return {400, "none of the subprotocols spoken here was asked for"};
    const auto deflate = negotiate_deflate(extensions, options.deflate);
    if (extensions.too_many() || !deflate.valid)
        return {400, "Sec-WebSocket-Extensions is not a list of extensions"};
    result.deflate = deflate.agreed;
    result.extensions = deflate.response;
    return {};
}

}  // namespace

ServerHandshake answer(const Request& request, const ServerOptions& options) {
    ServerHandshake result;
    Refusal refusal = check_method(request);
    if (!refusal.status) refusal = check_version_and_key(request);
    if (!refusal.status) refusal = negotiate(request, options, result);
    if (refusal.status) {
        result = {};
        result.version = request.version;
        result.status = refusal.status;
        result.reason = refusal.reason;
        return result;
    }
    result.version = request.version;
    result.status = is_http_2(request.version) ? 200 : 101;
    if (!is_http_2(request.version))
        result.accept_key = accept_key(FieldValues(request.fields, "Sec-WebSocket-Key")[0]);
    return result;
}

std::span<const Field> ServerHandshake::fields(
    std::array<Field, max_response_fields>& space) const {
    size_t count = 0;
    const auto add = [&](std::string_view name, std::string_view value) {
        space[count++] = {name, value};
    };
    if (status == 405) add("Allow", is_http_2(version) ? "CONNECT" : "GET");
    if ((status == 101 || status == 426) && !is_http_2(version)) {
        add("Upgrade", "websocket");
        add("Connection", "Upgrade");
    }
    if (status == 426) add("Sec-WebSocket-Version", websocket_version);
    if (!accept_key.empty()) add("Sec-WebSocket-Accept", accept_key);
    if (!subprotocol.empty()) add("Sec-WebSocket-Protocol", subprotocol);
    if (!extensions.empty()) add("Sec-WebSocket-Extensions", extensions);
    return {space.data(), count};
}

Text<28> accept_key(std::string_view key) {
    constexpr std::string_view guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    Text<base64_size(16) + guid.size()> both;
    both.append(key);
    both.append(guid);
    return base64(sha1(both.view()));
}

std::string_view choose_subprotocol(std::span<const std::string_view> requested,
                                    std::span<const std::string_view> preferred) {
    for (const auto candidate : preferred)
        for (const auto value : requested) {
            FieldScanner scanner(value);
            while (!scanner.at_end())
                if (scanner.list_member() == candidate) return candidate;
        }
    return {};
}

Text<24> make_key(std::span<const uint8_t, 16> nonce) {
    std::array<uint8_t, 16> bytes;
    std::copy(nonce.begin(), nonce.end(), bytes.begin());
    return base64(bytes);
}

namespace {

ClientHandshake refused(const char* error) {
    ClientHandshake result;
    result.error = error;
    return result;
}

const char* check_upgrade(const Response& response, std::string_view key) {
    if (response.status != 101) return "the server did not switch protocols";
    if (!FieldValues(response.fields, "Upgrade").list_has("websocket"))
        return "the response does not upgrade to websocket";
    if (!FieldValues(response.fields, "Connection").list_has("upgrade"))
        return "the response's Connection does not say Upgrade";
    const FieldValues accepted(response.fields, "Sec-WebSocket-Accept");
    if (accepted.size() != 1 || accepted[0] != accept_key(key).view())
        return "Sec-WebSocket-Accept does not belong to our key";
    return nullptr;
}

}  // namespace

ClientHandshake check(const Response& response, std::string_view key,
                      const ClientOptions& options) {
    if (is_http_2(response.version)) {
        if (response.status < 200 || response.status > 299)
            return refused("the server refused the WebSocket");
    } else if (const char* error = check_upgrade(response, key)) {
        return refused(error);
    }
    ClientHandshake result;
    const FieldValues protocols(response.fields, "Sec-WebSocket-Protocol");
    if (protocols.size() > 0) {
        result.subprotocol = choose_subprotocol(protocols, options.subprotocols);
        if (protocols.size() != 1 || result.subprotocol != protocols[0])
            return refused("the server chose a subprotocol that was not asked for");
    }
    const FieldValues extensions(response.fields, "Sec-WebSocket-Extensions");
    const auto deflate = check_deflate_response(extensions, options.deflate);
    if (extensions.too_many() || !deflate.valid)
        return refused("the server chose an extension that was not offered");
    result.deflate = deflate.agreed;
    return result;
}

}  // namespace ws
