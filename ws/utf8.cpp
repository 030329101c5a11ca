// SPDX-License-Identifier: BSD-3-Clause
// The exact, byte by byte part of UTF-8 validation; kernels skip what is plainly valid.
#include "ws/utf8.h"

#include "ws/kernels.h"

namespace ws {

// Table 3-7 of the Unicode standard: the first byte says how many follow and within which bounds
// the second must be; the others are within 80..BF.
bool Utf8Validator::step(uint8_t byte) {
    if (missing_ > 0) {
        if (byte < lowest_ || byte > highest_) return false;
        missing_--;
        lowest_ = 0x80;
        highest_ = 0xBF;
        return true;
    }
    if (byte < 0x80) return true;
    if (byte < 0xC2 || byte > 0xF4) return false;  // a continuation, overlong, above U+10FFFF
    missing_ = byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
    lowest_ = byte == 0xE0 ? 0xA0 : byte == 0xF0 ? 0x90 : 0x80;   // not overlong
    highest_ = byte == 0xED ? 0x9F : byte == 0xF4 ? 0x8F : 0xBF;  // no surrogate, not too large
    return true;
}

size_t Utf8Validator::check(std::span<const uint8_t> piece) {
    size_t i = 0;
    for (; missing_ > 0 && i < piece.size(); i++)
        if (!step(piece[i])) return i;
    if (missing_ > 0) return i;
    // The kernel stops at the first character that is not plainly valid: what is left is short, or
    // the failure is near.
    i += kernels().skip_utf8(piece.data() + i, piece.size() - i);
    for (; i < piece.size(); i++)
        if (!step(piece[i])) return i;
    return i;
}

}  // namespace ws
