// SPDX-License-Identifier: BSD-3-Clause
// Kernels for NEON, which every 64-bit ARM has: 16 bytes at a time.
#include "ws/kernels.h"
#include "ws/mask.h"
#include "ws/mask_words.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#include "ws/simd.h"

namespace ws {
namespace {

struct Neon {
    using Type = uint8x16_t;
    static constexpr size_t size = sizeof(Type);

    static Type load(const uint8_t* from) { return vld1q_u8(from); }
    static void store(uint8_t* to, Type v) { vst1q_u8(to, v); }
    static Type zero() { return vdupq_n_u8(0); }
    static Type repeat(uint32_t word) { return vreinterpretq_u8_u32(vdupq_n_u32(word)); }
    static Type either(Type a, Type b) { return vorrq_u8(a, b); }
    static Type both(Type a, Type b) { return vandq_u8(a, b); }
    static Type differ(Type a, Type b) { return veorq_u8(a, b); }
    static Type minus(Type a, uint8_t b) { return vqsubq_u8(a, vdupq_n_u8(b)); }
    static Type top_bit(Type a) { return vandq_u8(a, vdupq_n_u8(0x80)); }
    static Type lower_half(Type a) { return vandq_u8(a, vdupq_n_u8(0x0F)); }
    static Type upper_half(Type a) { return vshrq_n_u8(a, 4); }
    static bool is_ascii(Type a) { return vmaxvq_u8(a) < 0x80; }
    static bool is_nonzero(Type a) { return vmaxvq_u8(a) != 0; }

    static Type lookup(const uint8_t (&table)[16], Type indices) {
        return vqtbl1q_u8(vld1q_u8(table), indices);
    }

    template <int count>
    static Type shift_in(Type in, Type before) {
        return vextq_u8(before, in, 16 - count);
    }
};

}  // namespace

const Kernels neon_kernels = {"neon", Simd<Neon>::mask, Simd<Neon>::skip_utf8};

}  // namespace ws
#endif
