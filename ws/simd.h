// SPDX-License-Identifier: BSD-3-Clause
// The algorithms of the vector kernels, as a template over the vector type so that each exists
// once. A Vector has `size` and static functions on its `Type`; see kernels_*.cpp, which include
// this file after they told the compiler what to compile for: no library header may come first
// here.
//
// UTF-8 is validated by table lookups after Keiser and Lemire, "Validating UTF-8 In Less Than One
// Instruction Per Byte" (2021). Each byte is looked at together with the one before it: three
// tables, indexed by the halves of the first byte and the upper half of the second, give the errors
// each half could be part of; an error all three agree on is one. The third and fourth bytes of a
// character are the only ones that may continue a continuation.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ws/mask.h"
#include "ws/mask_words.h"

namespace ws {

struct Utf8Tables {
    uint8_t first_upper[16] = {};   // by the upper half of the first byte
    uint8_t first_lower[16] = {};   // by its lower half
    uint8_t second_upper[16] = {};  // by the upper half of the second byte

    // Rule number `bit`: an error if each half is in its range, ends included.
    constexpr void forbid(int bit, int upper0, int upper1, int lower0, int lower1, int second0,
                          int second1) {
        const uint8_t rule = static_cast<uint8_t>(1 << bit);
        for (int i = upper0; i <= upper1; i++) first_upper[i] |= rule;
        for (int i = lower0; i <= lower1; i++) first_lower[i] |= rule;
        for (int i = second0; i <= second1; i++) second_upper[i] |= rule;
    }
};

// Two calls with one bit forbid the products of their unions.
constexpr Utf8Tables utf8_tables = [] {
    Utf8Tables t;
    t.forbid(0, 0xC, 0xF, 0x0, 0xF, 0x0, 0x7);  // a character cut short by ASCII
    t.forbid(0, 0xC, 0xF, 0x0, 0xF, 0xC, 0xF);  // or by the next character
    t.forbid(1, 0x0, 0x7, 0x0, 0xF, 0x8, 0xB);  // a continuation of ASCII
    t.forbid(2, 0xC, 0xC, 0x0, 0x1, 0x8, 0xB);  // C0, C1: overlong
    t.forbid(3, 0xE, 0xE, 0x0, 0x0, 0x8, 0x9);  // E0 80..9F: overlong
    t.forbid(4, 0xE, 0xE, 0xD, 0xD, 0xA, 0xB);  // ED A0..BF: surrogates
    t.forbid(5, 0xF, 0xF, 0x4, 0xF, 0x9, 0xB);  // F4 90.., F5..: above U+10FFFF
    t.forbid(6, 0xF, 0xF, 0x0, 0x0, 0x8, 0x8);  // F0 80..8F: overlong
    t.forbid(6, 0xF, 0xF, 0x5, 0xF, 0x8, 0x8);  // F5.. 80..8F: above U+10FFFF
    t.forbid(7, 0x8, 0xB, 0x0, 0xF, 0x8, 0xB);  // a continuation of a continuation: see below
    return t;
}();

template <class Vector>
class Simd {
    using Type = typename Vector::Type;
    static constexpr size_t vectors = 64 / Vector::size;  // worked on at a time

    // Bytes that are non-zero where `in`, preceded by `before`, has an error.
    static inline Type errors(Type in, Type before) {
        const Type first = Vector::template shift_in<1>(in, before);
        const Type rules = Vector::both(
            Vector::both(Vector::lookup(utf8_tables.first_upper, Vector::upper_half(first)),
                         Vector::lookup(utf8_tables.first_lower, Vector::lower_half(first))),
            Vector::lookup(utf8_tables.second_upper, Vector::upper_half(in)));
        // Two bytes after E0.., three after F0.. there must be a continuation of a continuation,
        // rule 7, and nowhere else.
        const Type third = Vector::minus(Vector::template shift_in<2>(in, before), 0xE0 - 0x80);
        const Type fourth = Vector::minus(Vector::template shift_in<3>(in, before), 0xF0 - 0x80);
        return Vector::differ(Vector::top_bit(Vector::either(third, fourth)), rules);
    }

    // The beginning of a character that is cut at `end`, or `end`.
    static inline size_t whole_characters(const uint8_t* text, size_t end) {
        for (size_t back = 1; back <= 3 && back <= end; back++) {
            const uint8_t byte = text[end - back];
            if (byte >= 0xC0) {
                const size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
                return length > back ? end - back : end;
            }
            if (byte < 0x80) break;
        }
        return end;
    }

  public:
    static void mask(uint8_t* data, size_t size, MaskKey key) {
        // From an aligned address on; what is before it, and what is left, in words.
        size_t before = -reinterpret_cast<uintptr_t>(data) % Vector::size;
        if (before > size) before = size;
        mask_words(data, before, key);
        data += before;
        size -= before;
        key = rotate(key, before);
        const Type keys = Vector::repeat(std::bit_cast<uint32_t>(key));
        constexpr size_t step = 4 * Vector::size;
        for (; size >= step; data += step, size -= step)
            for (size_t i = 0; i < step; i += Vector::size)
                Vector::store(data + i, Vector::differ(Vector::load(data + i), keys));
        mask_words(data, size, key);
    }

    static size_t skip_utf8(const uint8_t* text, size_t size) {
        Type before = Vector::zero();
        size_t done = 0;
        for (; size - done >= 64; done += 64) {
            Type in[vectors];
            Type any = Vector::zero();
#pragma GCC unroll 4
            for (size_t i = 0; i < vectors; i++) {
                in[i] = Vector::load(text + done + i * Vector::size);
                any = Vector::either(any, in[i]);
            }
            if (Vector::is_ascii(any)) {
                // What is cut before it, is seen by whole_characters().
                if (done > 0 && text[done - 1] >= 0x80 && whole_characters(text, done) < done)
                    break;
                before = in[vectors - 1];
                continue;
            }
            Type wrong = Vector::zero();
#pragma GCC unroll 4
            for (size_t i = 0; i < vectors; i++) {
                wrong = Vector::either(wrong, errors(in[i], before));
                before = in[i];
            }
            if (Vector::is_nonzero(wrong)) break;
        }
        return whole_characters(text, done);
    }
};

}  // namespace ws
