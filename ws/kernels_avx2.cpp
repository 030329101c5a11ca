// SPDX-License-Identifier: BSD-3-Clause
// Kernels for AVX2: 32 bytes at a time.
#include "ws/kernels.h"
#include "ws/mask.h"
#include "ws/mask_words.h"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>

// Everything from here on is compiled for AVX2, whatever the rest of the program is compiled for.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif

#include "ws/simd.h"

namespace ws {
namespace {

struct Avx2 {
    using Type = __m256i;
    static constexpr size_t size = sizeof(Type);

    static Type load(const uint8_t* from) { return _mm256_loadu_si256((const Type*)from); }
    static void store(uint8_t* to, Type v) { _mm256_storeu_si256((Type*)to, v); }
    static Type zero() { return _mm256_setzero_si256(); }
    static Type repeat(uint32_t word) { return _mm256_set1_epi32((int)word); }
    static Type either(Type a, Type b) { return _mm256_or_si256(a, b); }
    static Type both(Type a, Type b) { return _mm256_and_si256(a, b); }
    static Type differ(Type a, Type b) { return _mm256_xor_si256(a, b); }
    static Type minus(Type a, uint8_t b) { return _mm256_subs_epu8(a, _mm256_set1_epi8((char)b)); }
    static Type top_bit(Type a) { return both(a, _mm256_set1_epi8((char)0x80)); }
    static Type lower_half(Type a) { return both(a, _mm256_set1_epi8(0x0F)); }
    static Type upper_half(Type a) { return lower_half(_mm256_srli_epi16(a, 4)); }
    static bool is_ascii(Type a) { return _mm256_movemask_epi8(a) == 0; }
    static bool is_nonzero(Type a) { return !_mm256_testz_si256(a, a); }

    // Each byte of `indices`, below 16, replaced by that entry of the table.
    static Type lookup(const uint8_t (&table)[16], Type indices) {
        const __m128i entries = _mm_loadu_si128((const __m128i*)table);
        return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(entries), indices);
    }

    // `in` moved up by `count` bytes, the gap filled with the last bytes of `before`.
    template <int count>
    static Type shift_in(Type in, Type before) {
        return _mm256_alignr_epi8(in, _mm256_permute2x128_si256(before, in, 0x21), 16 - count);
    }
};

}  // namespace

const Kernels avx2_kernels = {"avx2", Simd<Avx2>::mask, Simd<Avx2>::skip_utf8};

}  // namespace ws

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
