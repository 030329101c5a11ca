// SPDX-License-Identifier: BSD-3-Clause
// Kernels for SSSE3: 16 bytes at a time.
#include "ws/kernels.h"
#include "ws/mask.h"
#include "ws/mask_words.h"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>

// Everything from here on is compiled for SSSE3, whatever the rest of the program is compiled for.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("ssse3"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("ssse3")
#endif

#include "ws/simd.h"

namespace ws {
namespace {

struct Sse {
    using Type = __m128i;
    static constexpr size_t size = sizeof(Type);

    static Type load(const uint8_t* from) { return _mm_loadu_si128((const Type*)from); }
    static void store(uint8_t* to, Type v) { _mm_storeu_si128((Type*)to, v); }
    static Type zero() { return _mm_setzero_si128(); }
    static Type repeat(uint32_t word) { return _mm_set1_epi32((int)word); }
    static Type either(Type a, Type b) { return _mm_or_si128(a, b); }
    static Type both(Type a, Type b) { return _mm_and_si128(a, b); }
    static Type differ(Type a, Type b) { return _mm_xor_si128(a, b); }
    static Type minus(Type a, uint8_t b) { return _mm_subs_epu8(a, _mm_set1_epi8((char)b)); }
    static Type top_bit(Type a) { return both(a, _mm_set1_epi8((char)0x80)); }
    static Type lower_half(Type a) { return both(a, _mm_set1_epi8(0x0F)); }
    static Type upper_half(Type a) { return lower_half(_mm_srli_epi16(a, 4)); }
    static bool is_ascii(Type a) { return _mm_movemask_epi8(a) == 0; }
    static bool is_nonzero(Type a) {
        return _mm_movemask_epi8(_mm_cmpeq_epi8(a, zero())) != 0xFFFF;
    }

    static Type lookup(const uint8_t (&table)[16], Type indices) {
        return _mm_shuffle_epi8(load(table), indices);
    }

    template <int count>
    static Type shift_in(Type in, Type before) {
        return _mm_alignr_epi8(in, before, 16 - count);
    }
};

}  // namespace

const Kernels sse_kernels = {"sse", Simd<Sse>::mask, Simd<Sse>::skip_utf8};

}  // namespace ws

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
