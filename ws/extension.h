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

struct DeflateAgreement {
    DeflateParameters parameters;
    ExtensionText response;  ///< the value of the response's Sec-WebSocket-Extensions
};

/// Server: accepts the first offer of permessage-deflate in `offers`, the values of the request's
/// Sec-WebSocket-Extensions fields, that is well-formed and can be had under `policy`. `policy`
/// says what the server insists on: a true value is always part of the agreement, window bits are
/// upper bounds. A bound on the client's window makes offers unacceptable that do not have
/// client_max_window_bits, because 7.1.2.2 forbids to ask such a client. Nothing: the connection
/// goes without compression.
std::optional<DeflateAgreement> accept_deflate_offer(std::span<const std::string_view> offers,
                                                     const DeflateParameters& policy);

/// Client: the value of Sec-WebSocket-Extensions that asks for `wish`. client_max_window_bits is
/// always offered, with a value if below 15.
ExtensionText make_deflate_offer(const DeflateParameters& wish);

/// Client: what the server's response to make_deflate_offer(wish) means.
struct DeflateAnswer {
    bool valid = true;  ///< false: the connection must be failed (6455 4.1, 7692 5.1)
    std::optional<DeflateParameters> agreed;
};
DeflateAnswer check_deflate_response(std::span<const std::string_view> responses,
                                     const std::optional<DeflateParameters>& wish);

}  // namespace ws
