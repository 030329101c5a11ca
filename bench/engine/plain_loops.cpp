// SPDX-License-Identifier: BSD-3-Clause
// Compiled -O2 without the vectoriser.
#include "plain_loops.h"

namespace bench {

void mask_bytes(uint8_t* data, size_t size, const uint8_t* key) {
    for (size_t i = 0; i < size; i++) data[i] ^= key[i % 4];
}

bool validate_bytes(const uint8_t* text, size_t size) {
    int missing = 0;
    uint8_t lowest = 0x80, highest = 0xBF;
    for (size_t i = 0; i < size; i++) {
        const uint8_t byte = text[i];
        if (missing > 0) {
            if (byte < lowest || byte > highest) return false;
            missing--;
            lowest = 0x80;
            highest = 0xBF;
        } else if (byte >= 0x80) {
            if (byte < 0xC2 || byte > 0xF4) return false;
            missing = byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
            if (byte == 0xE0) lowest = 0xA0;
            if (byte == 0xF0) lowest = 0x90;
            if (byte == 0xED) highest = 0x9F;
            if (byte == 0xF4) highest = 0x8F;
        }
    }
    return missing == 0;
}

}  // namespace bench
