// SPDX-License-Identifier: BSD-3-Clause
// Masking and unmasking of payloads, in place (RFC 6455 section 5.3).
#pragma once

#include <span>

#include "ws/frame.h"

namespace ws {

/// XORs data[i] with key[i % 4]. Masking and unmasking are the same operation.
void apply_mask(std::span<uint8_t> data, MaskKey key);

/// The key to continue with after `count` bytes were masked.
constexpr MaskKey rotate(MaskKey key, uint64_t count) {
    return {key[count % 4], key[(count + 1) % 4], key[(count + 2) % 4], key[(count + 3) % 4]};
}

}  // namespace ws
