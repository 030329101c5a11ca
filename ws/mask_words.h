// SPDX-License-Identifier: BSD-3-Clause
// Masking in words of eight bytes: what short payloads and the ends of long ones are done with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ws/frame.h"

namespace ws {

/// XORs data[i] with key[i % 4].
static inline void mask_words(uint8_t* data, size_t size, MaskKey key) {
    uint32_t key32;
    std::memcpy(&key32, key.data(), sizeof key32);
    const uint64_t key64 = uint64_t{key32} << 32 | key32;
    uint64_t word;
    for (; size >= sizeof word; data += sizeof word, size -= sizeof word) {
        std::memcpy(&word, data, sizeof word);
        word ^= key64;
        std::memcpy(data, &word, sizeof word);
    }
    for (size_t i = 0; i < size; i++) data[i] ^= reinterpret_cast<const uint8_t*>(&key64)[i];
}

}  // namespace ws
