// SPDX-License-Identifier: BSD-3-Clause
// UTF-8 validation without vectors: character by character, and byte by byte where a character is
// cut or wrong.
#include "ws/utf8.h"

#include <cstring>

#include "ws/kernels.h"

namespace ws {
namespace {

// What the first byte of a character says about the others: table 3-7 of the Unicode standard. The
// bounds are those of the second byte; the third and the fourth are within 80..BF.
struct Following {
    uint8_t count;
    uint8_t lowest;
    uint8_t highest;
};

constexpr Following invalid = {0xFF, 0, 0};

Following following(uint8_t first) {
    if (first < 0x80) return {0, 0, 0};
    if (first < 0xC2 || first > 0xF4) return invalid;  // continuation, overlong, above U+10FFFF
    return {static_cast<uint8_t>(first < 0xE0   ? 1
                                 : first < 0xF0 ? 2
                                                : 3),
            static_cast<uint8_t>(first == 0xE0   ? 0xA0
                                 : first == 0xF0 ? 0x90
                                                 : 0x80),  // overlong
            static_cast<uint8_t>(first == 0xED   ? 0x9F
                                 : first == 0xF4 ? 0x8F
                                                 : 0xBF)};  // surrogate
}

bool is_continuation(uint8_t byte) { return (byte & 0xC0) == 0x80; }

// The size of the character that begins `text`, or 0 if it is not whole and valid.
size_t character_size(const uint8_t* text, size_t size) {
    const Following next = following(text[0]);
    if (next.count == invalid.count || size <= next.count) return 0;
    switch (next.count) {
        case 3:
            if (!is_continuation(text[3])) return 0;
            [[fallthrough]];
        case 2:
            if (!is_continuation(text[2])) return 0;
            [[fallthrough]];
        case 1:
            if (text[1] < next.lowest || text[1] > next.highest) return 0;
            [[fallthrough]];
        default:
            return 1 + next.count;
    }
}

}  // namespace

size_t skip_characters(const uint8_t* text, size_t size) {
    size_t i = 0;
    while (i < size) {
        uint64_t word;
        if (size - i >= sizeof word) {
            std::memcpy(&word, text + i, sizeof word);
            if ((word & 0x8080808080808080u) == 0) {
                i += sizeof word;
                continue;
            }
        }
        const size_t skipped = character_size(text + i, size - i);
        if (skipped == 0) break;
        i += skipped;
    }
    return i;
}

bool Utf8Validator::step(uint8_t byte) {
    if (missing_ > 0) {
        if (byte < lowest_ || byte > highest_) return false;
        missing_--;
        lowest_ = 0x80;
        highest_ = 0xBF;
        return true;
    }
    const Following next = following(byte);
    if (next.count == invalid.count) return false;
    missing_ = next.count;
    lowest_ = next.lowest;
    highest_ = next.highest;
    return true;
}

size_t Utf8Validator::check(std::span<const uint8_t> piece) {
    size_t i = 0;
    for (; missing_ > 0 && i < piece.size(); i++)
        if (!step(piece[i])) return i;
    // Vectors take what fills them, characters the rest; what then remains is cut or wrong.
    constexpr size_t worth_a_kernel = 64;
    if (piece.size() - i >= worth_a_kernel)
        i += kernels().skip_utf8(piece.data() + i, piece.size() - i);
    i += skip_characters(piece.data() + i, piece.size() - i);
    for (; i < piece.size(); i++)
        if (!step(piece[i])) return i;
    return i;
}

}  // namespace ws
