// SPDX-License-Identifier: BSD-3-Clause
// The choice of kernels at run time, and the scalar ones.
#include "ws/kernels.h"

#include "ws/mask_words.h"

namespace ws {
namespace {

struct Usable {
    const Kernels* list[4];
    size_t count = 0;

    Usable() {
        list[count++] = &scalar_kernels;
#if defined(__x86_64__) || defined(__i386__)
        __builtin_cpu_init();
        if (__builtin_cpu_supports("ssse3")) list[count++] = &sse_kernels;
        if (__builtin_cpu_supports("avx2")) list[count++] = &avx2_kernels;
        // The first processors with AVX-512 slow down when it is used; those with VBMI do not.
        if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vbmi"))
            list[count++] = &avx512_kernels;
#elif defined(__aarch64__)
        list[count++] = &neon_kernels;
#endif
    }
};

constinit const Kernels* in_use = &scalar_kernels;

[[maybe_unused]] const bool chosen = [] {
    in_use = usable_kernels().back();
    return true;
}();

}  // namespace

const Kernels scalar_kernels = {"scalar", mask_words, skip_characters};

std::span<const Kernels* const> usable_kernels() {
    static const Usable usable;
    return {usable.list, usable.count};
}

const Kernels& kernels() { return *in_use; }

void use_kernels(const Kernels& choice) { in_use = &choice; }

}  // namespace ws
