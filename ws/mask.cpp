// SPDX-License-Identifier: BSD-3-Clause
// Masking: short payloads in place, long ones by the widest kernel.
#include "ws/mask.h"

#include "ws/kernels.h"
#include "ws/mask_words.h"

namespace ws {

void apply_mask(std::span<uint8_t> data, MaskKey key) {
    constexpr size_t worth_a_kernel = 64;
    if (data.size() < worth_a_kernel)
        mask_words(data.data(), data.size(), key);
    else
        kernels().mask(data.data(), data.size(), key);
}

}  // namespace ws
