// SPDX-License-Identifier: BSD-3-Clause
// The two inner loops that are worth vector units, and the one place that chooses among their
// implementations. Not for users of the engine: mask.h and utf8.h are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "ws/frame.h"

namespace ws {

struct Kernels {
    const char* name;

    /// XORs data[i] with key[i % 4].
    void (*mask)(uint8_t* data, size_t size, MaskKey key);

    /// Skips well-formed UTF-8: returns a count of bytes at the front of `text` that are whole,
    /// valid characters. It may stop early: before an invalid one, and before what does not fill a
    /// vector. `text` begins at a character's first byte.
    size_t (*skip_utf8)(const uint8_t* text, size_t size);
};

/// Skips well-formed UTF-8, as above, but stops only where it must: before what is not a whole,
/// valid character.
size_t skip_characters(const uint8_t* text, size_t size);

extern const Kernels scalar_kernels;
#if defined(__x86_64__) || defined(__i386__)
extern const Kernels sse_kernels;  // SSSE3
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;  // AVX512F and AVX512BW
#elif defined(__aarch64__)
extern const Kernels neon_kernels;
#endif

/// Those this CPU can run, the widest last.
std::span<const Kernels* const> usable_kernels();

/// The ones in use: the widest, chosen when the program or module is loaded.
const Kernels& kernels();

/// For tests and measurements: use these from now on.
void use_kernels(const Kernels& choice);

}  // namespace ws
