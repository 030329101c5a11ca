// SPDX-License-Identifier: BSD-3-Clause
// As little of WebSocket (RFC 6455) as an echo server can do with: no UTF-8, no rules enforced.
// On purpose not the project's own engine, against which it is to be compared.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace bench {

enum Opcode : uint8_t { continuation = 0, text = 1, binary = 2, close = 8, ping = 9, pong = 10 };

struct FrameHeader {
    uint8_t first = 0;  // FIN, reserved bits and opcode
    bool masked = false;
    uint64_t payload = 0;  // bytes
    size_t size = 0;       // of the header; 0: more of it is needed
    uint8_t key[4] = {};

    uint8_t opcode() const { return first & 15; }
    bool fin() const { return first & 0x80; }
    bool control() const { return first & 8; }
};

inline constexpr size_t longest_header = 14;

FrameHeader read_header(std::span<const uint8_t> bytes);

// Writes the header of a server's frame so that it ends at `end`, in front of its payload. Returns
// where it begins.
uint8_t* write_header_before(uint8_t* end, uint8_t first, uint64_t payload);

// `phase`: bytes of the frame's payload that came before these.
void unmask(std::span<uint8_t> bytes, const uint8_t key[4], size_t phase);

// What a server answers to the head of a request; `key`: of Sec-WebSocket-Key.
std::string accept_key(std::string_view key);
std::string accept_response(std::string_view request);

// The frames at the front of `bytes` turned into their echoes in place.
struct Echo {
    std::span<uint8_t> replies;
    size_t taken = 0;     // bytes of the frames that were answered
    size_t next = 0;      // bytes, with header, of the incomplete frame that follows; 0: unknown
    bool closed = false;  // a Close was answered
};
Echo echo_frames(std::span<uint8_t> bytes);

}  // namespace bench
