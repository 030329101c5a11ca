// SPDX-License-Identifier: BSD-3-Clause
// Frame headers, from bytes and to bytes (RFC 6455 section 5.2).
#include "ws/frame.h"

#include <algorithm>
#include <cstring>

#include "ws/mask.h"

namespace ws {
namespace {

// Byte 0.
constexpr uint8_t fin_bit = 0x80;
constexpr uint8_t rsv1_bit = 0x40;
constexpr uint8_t rsv23_bits = 0x30;
constexpr uint8_t opcode_bits = 0x0F;
// Byte 1.
constexpr uint8_t mask_bit = 0x80;
constexpr uint8_t length_bits = 0x7F;
// Values of the length bits that announce a longer length.
constexpr uint8_t length_is_16_bits = 126;
constexpr uint8_t length_is_64_bits = 127;

uint64_t read_big_endian(const uint8_t* bytes, size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) value = value << 8 | bytes[i];
    return value;
}

void write_big_endian(uint64_t value, uint8_t* bytes, size_t size) {
    for (size_t i = size; i-- > 0; value >>= 8) bytes[i] = static_cast<uint8_t>(value);
}

// Bytes of the extended payload length.
size_t length_size(uint8_t length7) {
    return length7 == length_is_64_bits ? 8 : length7 == length_is_16_bits ? 2 : 0;
}

FrameError check_first_byte(uint8_t byte, bool allow_rsv1) {
    const uint8_t opcode = byte & opcode_bits;
    if (byte & rsv23_bits) return FrameError::reserved_bits;
    if (opcode > 0xA || (opcode > 0x2 && opcode < 0x8)) return FrameError::reserved_opcode;
    if (is_control(static_cast<Opcode>(opcode)) && !(byte & fin_bit))
        return FrameError::fragmented_control;
    if (byte & rsv1_bit) {
        if (!allow_rsv1) return FrameError::reserved_bits;
        if (opcode != 0x1 && opcode != 0x2) return FrameError::misplaced_rsv1;
    }
    return FrameError::none;
}

FrameError check_second_byte(uint8_t byte, Opcode opcode, bool expect_mask) {
    const bool masked = byte & mask_bit;
    if (masked != expect_mask)
        return expect_mask ? FrameError::missing_mask : FrameError::unexpected_mask;
    if (is_control(opcode) && (byte & length_bits) > max_control_payload)
        return FrameError::long_control;
    return FrameError::none;
}

// `bytes` is the extended length as far as it is there. A length is too small for its form, or too
// large for any, before its last byte is seen.
FrameError check_length(const uint8_t* bytes, size_t have, size_t size) {
    if (size == 8 && have >= 1 && (bytes[0] & 0x80)) return FrameError::length_out_of_range;
    if (size == 8 && have >= 6 && read_big_endian(bytes, 6) == 0)
        return FrameError::non_minimal_length;
    if (size == 2 && have >= 2 && read_big_endian(bytes, 2) < length_is_16_bits)
        return FrameError::non_minimal_length;
    return FrameError::none;
}

}  // namespace

size_t header_size(const FrameHeader& header) {
    const size_t length = header.length < length_is_16_bits ? 0 : header.length <= 0xFFFF ? 2 : 8;
    return 2 + length + (header.masked ? header.mask_key.size() : 0);
}

size_t write_header(const FrameHeader& header, uint8_t* out) {
    uint8_t* at = out;
    *at++ = (header.fin ? fin_bit : 0) | (header.rsv1 ? rsv1_bit : 0) |
            static_cast<uint8_t>(header.opcode);
    const uint8_t mask = header.masked ? mask_bit : 0;
    if (header.length < length_is_16_bits) {
        *at++ = mask | static_cast<uint8_t>(header.length);
    } else {
        const uint8_t length7 = header.length <= 0xFFFF ? length_is_16_bits : length_is_64_bits;
        *at++ = mask | length7;
        write_big_endian(header.length, at, length_size(length7));
        at += length_size(length7);
    }
    if (header.masked) at = std::copy(header.mask_key.begin(), header.mask_key.end(), at);
    return at - out;
}

const char* describe(FrameError error) {
    switch (error) {
        case FrameError::none:
            return "no error";
        case FrameError::reserved_bits:
            return "reserved bit set in a frame header";
        case FrameError::reserved_opcode:
            return "reserved opcode";
        case FrameError::fragmented_control:
            return "fragmented control frame";
        case FrameError::long_control:
            return "control frame longer than 125 bytes";
        case FrameError::misplaced_rsv1:
            return "compression bit not on a message's first frame";
        case FrameError::missing_mask:
            return "unmasked frame from a client";
        case FrameError::unexpected_mask:
            return "masked frame from a server";
        case FrameError::non_minimal_length:
            return "frame length not in its shortest form";
        case FrameError::length_out_of_range:
            return "frame length of 2^63 or more";
    }
    return "unknown error";
}

FrameReader::Step FrameReader::read_header(std::span<uint8_t>& input) {
    if (input.empty()) return Step::need_input;
    const uint8_t* bytes = input.data();
    size_t have = input.size();
    if (partial_size_ > 0) {  // the beginning of this header came with an earlier input
        const size_t more = std::min<size_t>(have, max_header_size - partial_size_);
        std::memcpy(partial_.data() + partial_size_, bytes, more);
        bytes = partial_.data();
        have = partial_size_ + more;
    }
    size_t need = 2;
    error_ = parse(bytes, have, need);
    if (error_ != FrameError::none) return Step::error;
    if (have < need) {
        if (bytes == input.data()) std::memcpy(partial_.data(), bytes, have);
        partial_size_ = static_cast<uint8_t>(have);
        input = input.subspan(input.size());
        return Step::need_input;
    }
    input = input.subspan(need - partial_size_);
    partial_size_ = 0;
    return Step::header;
}

// Looks at the first `have` bytes of a header. `need` becomes the size of the whole header, as soon
// as that is known; header_ is complete when have >= need.
FrameError FrameReader::parse(const uint8_t* bytes, size_t have, size_t& need) {
    if (have < 1) return FrameError::none;
    if (auto error = check_first_byte(bytes[0], allow_rsv1_); error != FrameError::none)
        return error;
    header_.opcode = static_cast<Opcode>(bytes[0] & opcode_bits);
    header_.fin = bytes[0] & fin_bit;
    header_.rsv1 = bytes[0] & rsv1_bit;

    if (have < 2) return FrameError::none;
    if (auto error = check_second_byte(bytes[1], header_.opcode, expect_mask_);
        error != FrameError::none)
        return error;
    header_.masked = bytes[1] & mask_bit;

    const size_t size = length_size(bytes[1] & length_bits);
    const uint8_t* key = bytes + 2 + size;
    need = 2 + size + (header_.masked ? header_.mask_key.size() : 0);
    if (auto error = check_length(bytes + 2, have - 2, size); error != FrameError::none)
        return error;
    if (have < need) return FrameError::none;
    header_.length = size ? read_big_endian(bytes + 2, size) : bytes[1] & length_bits;
    if (header_.masked) std::copy_n(key, header_.mask_key.size(), header_.mask_key.begin());
    return FrameError::none;
}

std::optional<std::span<uint8_t>> FrameReader::read_short_frame(std::span<uint8_t>& input) {
    constexpr size_t header_size = 2 + sizeof(MaskKey);
    if (input.size() < header_size || partial_size_ > 0 || !expect_mask_) return std::nullopt;
    const uint8_t* const bytes = input.data();
    const auto opcode = static_cast<Opcode>(bytes[0] ^ fin_bit);
    const size_t length = bytes[1] ^ mask_bit;
    if ((opcode != Opcode::text && opcode != Opcode::binary) || length > max_short_payload ||
        length > input.size() - header_size)
        return std::nullopt;
    header_ = {.length = 0, .opcode = opcode, .masked = true};
    MaskKey key;
    std::memcpy(key.data(), bytes + 2, sizeof key);
    const auto payload = input.subspan(header_size, length);
    apply_mask(payload, key);
    input = input.subspan(header_size + length);
    return payload;
}

std::span<uint8_t> FrameReader::peek(std::span<uint8_t> input) {
    auto payload = input.first(std::min<uint64_t>(input.size(), header_.length));
    if (header_.masked && payload.size() > unmasked_) {
        apply_mask(payload.subspan(unmasked_), rotate(header_.mask_key, unmasked_));
        unmasked_ = payload.size();
    }
    return payload;
}

void FrameReader::take(std::span<uint8_t>& input, size_t size) {
    input = input.subspan(size);
    header_.length -= size;
    if (header_.masked) {
        unmasked_ -= size;
        header_.mask_key = rotate(header_.mask_key, size);
    }
}

}  // namespace ws
