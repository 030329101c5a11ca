// SPDX-License-Identifier: BSD-3-Clause
// The opening handshake as pure functions: request fields in, response fields out, for HTTP/1.1
// (RFC 6455 section 4) and for HTTP/2's extended CONNECT (RFC 8441). The texts of the fields are
// parsed by whoever speaks HTTP.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "ws/extension.h"
#include "ws/http_fields.h"
#include "ws/text.h"

namespace ws {

/// What a handshake needs of a request. All texts must outlive the results made from it.
struct Request {
    enum class Version : uint8_t { http_1_0, http_1_1, http_2 };
    Version version = Version::http_1_1;
    std::string_view method;        ///< GET, or CONNECT with HTTP/2
    std::string_view protocol;      ///< :protocol, with HTTP/2
    std::span<const Field> fields;  ///< in their order; HTTP/2 pseudo fields are not looked at
};

/// What the server is willing to speak.
struct ServerOptions {
    /// Subprotocols, the server's favourite first (RFC 6455 1.9). Empty: the field is not answered.
    std::span<const std::string_view> subprotocols;
    bool require_subprotocol = false;  ///< refuse with 400 if none of them was asked for
    /// What to insist on if permessage-deflate is offered; empty: no compression.
    std::optional<DeflateParameters> deflate;
};

constexpr size_t max_response_fields = 5;

/// The answer to a request. `status` is 101 (HTTP/1.1) or 200 (HTTP/2) and the connection is a
/// WebSocket, or 400, 405 or 426 and it is not.
struct ServerHandshake {
    Request::Version version = Request::Version::http_1_1;  ///< the request's
    uint16_t status = 400;
    const char* reason = "";       ///< of a refusal, a sentence for people
    std::string_view subprotocol;  ///< the chosen one, as it stands in the options, or empty
    std::optional<DeflateParameters> deflate;
    Text<28> accept_key;
    ExtensionText extensions;

    bool accepted() const { return status == 101 || status == 200; }

    /// The fields the response must carry, refusals too (Allow, Upgrade, Sec-WebSocket-Version), in
    /// `space`. They point into this object.
    std::span<const Field> fields(std::array<Field, max_response_fields>& space) const;
};

ServerHandshake answer(const Request& request, const ServerOptions& options);

/// The value of Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 4.2.2).
Text<28> accept_key(std::string_view key);

/// The first of `preferred` that occurs in `requested`, the values of the Sec-WebSocket-Protocol
/// fields; empty if none does.
std::string_view choose_subprotocol(std::span<const std::string_view> requested,
                                    std::span<const std::string_view> preferred);

// ---- Client

struct ClientOptions {
    std::span<const std::string_view> subprotocols;  ///< asked for, favourite first
    std::optional<DeflateParameters> deflate;        ///< offered, if any
};

/// The value of Sec-WebSocket-Key: `nonce` is 16 bytes nobody can predict.
Text<24> make_key(std::span<const uint8_t, 16> nonce);

/// What a client needs of a response.
struct Response {
    Request::Version version = Request::Version::http_1_1;
    uint16_t status = 0;
    std::span<const Field> fields;
};

struct ClientHandshake {
    const char* error =
        nullptr;  ///< null: the connection is a WebSocket; else a sentence for people
    std::string_view subprotocol;  ///< as in the options, or empty
    std::optional<DeflateParameters> deflate;
};

/// Checks the response to a request that carried `key` (not used with HTTP/2) and `options`
/// (RFC 6455 4.1, RFC 8441 5).
ClientHandshake check(const Response& response, std::string_view key, const ClientOptions& options);

}  // namespace ws
