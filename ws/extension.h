// SPDX-License-Identifier: BSD-3-Clause
// The negotiation of permessage-deflate (RFC 7692 sections 5 and 7.1) as pure functions over the
// text of Sec-WebSocket-Extensions (RFC 6455 section 9.1).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "ws/text.h"

namespace ws {

/// What both ends agreed on. Without takeover a message is compressed without regard to the ones
/// before it; window bits are 8 to 15.
struct DeflateParameters {
    bool server_no_context_takeover = false;
    bool client_no_context_takeover = false;
    uint8_t server_max_window_bits = 15;
    uint8_t client_max_window_bits = 15;

    bool operator==(const DeflateParameters&) const = default;
};

/// Room for the longest text that is produced here.
using ExtensionText = Text<160>;

/// The outcome of a negotiation.
struct DeflateNegotiation {
    bool valid =
        true;  ///< false: the other end's text breaks the rules and the handshake must fail
    std::optional<DeflateParameters> agreed;  ///< empty: the connection goes without compression
    ExtensionText response;  ///< server: the value of the response's field; empty: no such field
};

/// Server: accepts the first offer in `offers`, the values of the request's
/// Sec-WebSocket-Extensions fields, that can be had under `policy`; none without a policy. The
/// policy is what the server insists on: what is true there is part of the agreement, window bits
/// are upper bounds. Offers with unknown, repeated or ill-valued parameters are passed over (7.1).
/// A bound on the client's window is dropped for an offer without client_max_window_bits, because
/// 7.1.2.2 forbids to ask such a client for one.
DeflateNegotiation negotiate_deflate(std::span<const std::string_view> offers,
                                     const std::optional<DeflateParameters>& policy);

/// Client: the value of Sec-WebSocket-Extensions that asks for `wish`. client_max_window_bits is
/// always offered, so that the server may bound the window; with a value if `wish` has one.
ExtensionText make_deflate_offer(const DeflateParameters& wish);

/// Client: what the server's answer to make_deflate_offer(wish) means. It may grant more than was
/// asked for, not less, and nothing that was not offered (6455 4.1, 7692 7.1).
DeflateNegotiation check_deflate_response(std::span<const std::string_view> responses,
                                          const std::optional<DeflateParameters>& wish);

}  // namespace ws
