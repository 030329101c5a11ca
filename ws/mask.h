// SPDX-License-Identifier: BSD-3-Clause
// Masking and unmasking of payloads, in place (RFC 6455 section 5.3).
#pragma once

#include <bit>
#include <span>

#include "ws/frame.h"

namespace ws {

/// XORs data[i] with key[i % 4]. Masking and unmasking are the same operation.
void apply_mask(std::span<uint8_t> data, MaskKey key);

/// The key to continue with after `count` bytes were masked.
constexpr MaskKey rotate(MaskKey key, uint64_t count) {
    const auto word = std::bit_cast<uint32_t>(key);
    const int bits = 8 * static_cast<int>(count % 4);
    return std::bit_cast<MaskKey>(
        std::endian::native == std::endian::little ? std::rotr(word, bits) : std::rotl(word, bits));
}

}  // namespace ws
