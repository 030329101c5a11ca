// SPDX-License-Identifier: BSD-3-Clause
// The frame layer: one frame's header read and written, its payload unmasked, and nothing else
// (RFC 6455 section 5.2). What frames mean together is connection.h's business.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace ws {

/// Which end of the connection this is. A client masks what it sends, a server does not; each
/// fails a peer that does it the other way round (RFC 6455 5.1).
enum class Role : uint8_t { server, client };

enum class Opcode : uint8_t {
    continuation = 0x0,
    text = 0x1,
    binary = 0x2,
    close = 0x8,
    ping = 0x9,
    pong = 0xA,
};

constexpr bool is_control(Opcode opcode) { return (static_cast<uint8_t>(opcode) & 0x8) != 0; }

constexpr size_t max_header_size = 14;       ///< 2 + 8 of length + 4 of masking key
constexpr size_t max_control_payload = 125;  ///< RFC 6455 5.5
constexpr size_t max_short_payload = 125;    ///< that the header's second byte can tell
constexpr size_t max_control_frame = 2 + 4 + max_control_payload;

/// The masking key in the order of the wire, so that byte i of a payload is XORed with key[i % 4].
using MaskKey = std::array<uint8_t, 4>;

struct FrameHeader {
    uint64_t length = 0;  ///< of the payload, bytes
    MaskKey mask_key{};   ///< all zero if not masked
    Opcode opcode = Opcode::continuation;
    bool fin = true;
    bool rsv1 = false;  ///< set on a message's first frame: compressed (RFC 7692 7.2.1)
    bool masked = false;
};

/// Bytes write_header() will produce.
size_t header_size(const FrameHeader& header);

/// Writes the shortest encoding of `header` to `out` and returns its size. `out` must have
/// header_size(header) bytes; max_header_size always suffices.
size_t write_header(const FrameHeader& header, uint8_t* out);

/// Why a frame is not acceptable to the frame layer; all of them end in 1002.
enum class FrameError : uint8_t {
    none,
    reserved_bits,        ///< RSV2 or RSV3, or RSV1 when nothing was negotiated for it
    reserved_opcode,      ///< 3-7 or 11-15
    fragmented_control,   ///< FIN clear on close, ping or pong
    long_control,         ///< more than 125 bytes on close, ping or pong
    misplaced_rsv1,       ///< RSV1 on close, ping, pong or continuation
    missing_mask,         ///< from a client
    unexpected_mask,      ///< from a server
    non_minimal_length,   ///< 16 bits for what fits in 7, or 64 for what fits in 16
    length_out_of_range,  ///< 2^63 or more
};

/// One sentence for people.
const char* describe(FrameError error);

/// Reads the headers and unmasks the payloads of a sequence of frames, cut anywhere.
class FrameReader {
  public:
    enum class Step : uint8_t { need_input, header, error };

    /// `role` is the reader's own; `allow_rsv1` says that permessage-deflate was agreed.
    FrameReader(Role role, bool allow_rsv1)
        : expect_mask_(role == Role::server), allow_rsv1_(allow_rsv1) {}

    /// Takes header bytes from the front of `input`. Step::header once the header is complete:
    /// header() is then valid and the payload follows. An unacceptable frame is an error at the
    /// first byte that shows it. Call only when remaining() is 0.
    Step read_header(std::span<uint8_t>& input);

    /// The short way for what most frames are: a client's whole message of at most
    /// max_short_payload bytes. If that is at the front of `input`, all of it, it is taken, and the
    /// result is the payload, unmasked; header() tells the opcode. Otherwise nothing has happened.
    /// Call only when remaining() is 0.
    std::optional<std::span<uint8_t>> read_short_frame(std::span<uint8_t>& input);

    /// The current frame's. As its payload is taken, length and mask_key become those of the rest.
    const FrameHeader& header() const { return header_; }
    FrameError error() const { return error_; }

    /// Payload bytes of the current frame that were not taken yet.
    uint64_t remaining() const { return header_.length; }

    /// The bytes of the current frame's payload at the front of `input`, unmasked in place. Looking
    /// twice at the same bytes unmasks them once.
    std::span<uint8_t> peek(std::span<uint8_t> input);

    /// Takes `size` of the bytes that peek() returned from the front of `input`.
    void take(std::span<uint8_t>& input, size_t size);

  private:
    FrameError parse(const uint8_t* bytes, size_t have, size_t& need);

    FrameHeader header_;   // its length and masking key are those of what was not taken yet
    size_t unmasked_ = 0;  // bytes at the front of the input that are unmasked, but not taken
    std::array<uint8_t, max_header_size> partial_;  // a header that came in pieces
    uint8_t partial_size_ = 0;
    FrameError error_ = FrameError::none;
    bool expect_mask_;
    bool allow_rsv1_;
};

}  // namespace ws
