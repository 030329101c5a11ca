// SPDX-License-Identifier: BSD-3-Clause
// Close codes (RFC 6455 section 7.4) and the closing handshake as a state table (section 7.1).
#pragma once

#include <cstdint>

namespace ws {

namespace close_code {
constexpr uint16_t normal = 1000;
constexpr uint16_t going_away = 1001;
constexpr uint16_t protocol_error = 1002;
constexpr uint16_t unsupported_data = 1003;
constexpr uint16_t none = 1005;      ///< the peer's Close had no code; never on the wire
constexpr uint16_t abnormal = 1006;  ///< the connection was lost without Close; never on the wire
constexpr uint16_t invalid_payload = 1007;
constexpr uint16_t policy_violation = 1008;
constexpr uint16_t too_big = 1009;
constexpr uint16_t mandatory_extension = 1010;
constexpr uint16_t internal_error = 1011;
constexpr uint16_t service_restart = 1012;
constexpr uint16_t try_again_later = 1013;
constexpr uint16_t bad_gateway = 1014;
}  // namespace close_code

/// Whether `code` may stand in a Close frame: 1000-1003, 1007-1014 (RFC 6455 and IANA's registry)
/// and 3000-4999.
constexpr bool valid_on_wire(uint16_t code) {
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

/// Where the closing handshake stands.
enum class CloseState : uint8_t {
    open,            ///< messages both ways
    close_sent,      ///< our Close is out: we only receive, until the peer's comes
    close_received,  ///< the peer's is in: we may finish what we are sending, then answer
    failed,          ///< the peer broke a rule: nothing is received, our Close waits to be sent
    closed,          ///< nothing more either way
};

enum class CloseStep : uint8_t { send_close, receive_close, failure };

/// The state after `step`. The table and its reasons are in close.cpp.
CloseState after(CloseState state, CloseStep step);

/// Whether messages, pings and pongs may still be sent, or a Close of the caller's choice.
constexpr bool may_send(CloseState state) {
    return state == CloseState::open || state == CloseState::close_received;
}

/// Whether what arrives is still looked at; otherwise it is discarded (RFC 6455 5.5.1, 7.1.7).
constexpr bool may_receive(CloseState state) {
    return state == CloseState::open || state == CloseState::close_sent;
}

}  // namespace ws
