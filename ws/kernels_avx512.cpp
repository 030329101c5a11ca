// SPDX-License-Identifier: BSD-3-Clause
// Kernels for AVX-512: 64 bytes at a time.
#include "ws/kernels.h"
#include "ws/mask.h"
#include "ws/mask_words.h"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>

// Everything from here on is compiled for AVX-512, whatever the rest of the program is compiled
// for.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw")
#endif

#include "ws/simd.h"

namespace ws {
namespace {

struct Avx512 {
    using Type = __m512i;
    static constexpr size_t size = sizeof(Type);

    static Type load(const uint8_t* from) { return _mm512_loadu_si512((const Type*)from); }
    static void store(uint8_t* to, Type v) { _mm512_storeu_si512((Type*)to, v); }
    static Type zero() { return _mm512_setzero_si512(); }
    static Type repeat(uint32_t word) { return _mm512_set1_epi32((int)word); }
    static Type either(Type a, Type b) { return _mm512_or_si512(a, b); }
    static Type both(Type a, Type b) { return _mm512_and_si512(a, b); }
    static Type differ(Type a, Type b) { return _mm512_xor_si512(a, b); }
    static Type minus(Type a, uint8_t b) { return _mm512_subs_epu8(a, _mm512_set1_epi8((char)b)); }
    static Type top_bit(Type a) { return both(a, _mm512_set1_epi8((char)0x80)); }
    static Type lower_half(Type a) { return both(a, _mm512_set1_epi8(0x0F)); }
    static Type upper_half(Type a) { return lower_half(_mm512_srli_epi16(a, 4)); }
    static bool is_ascii(Type a) { return _mm512_movepi8_mask(a) == 0; }
    static bool is_nonzero(Type a) { return _mm512_test_epi8_mask(a, a) != 0; }

    // Each byte of `indices`, below 16, replaced by that entry of the table.
    static Type lookup(const uint8_t (&table)[16], Type indices) {
        const __m128i entries = _mm_loadu_si128((const __m128i*)table);
        // Not _mm512_broadcast_i32x4(): gcc 12 warns about its own header.
        return _mm512_shuffle_epi8(_mm512_maskz_broadcast_i32x4(0xFFFF, entries), indices);
    }

    // `in` moved up by `count` bytes, the gap filled with the last bytes of `before`.
    template <int count>
    static Type shift_in(Type in, Type before) {
        const Type lane_before =
            _mm512_permutex2var_epi64(before, _mm512_setr_epi64(6, 7, 8, 9, 10, 11, 12, 13), in);
        return _mm512_alignr_epi8(in, lane_before, 16 - count);
    }
};

}  // namespace

const Kernels avx512_kernels = {"avx512", Simd<Avx512>::mask, Simd<Avx512>::skip_utf8};

}  // namespace ws

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
