// SPDX-License-Identifier: BSD-3-Clause
// Masking and UTF-8 validation, one byte after another: what the kernels are measured against.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bench {

void mask_bytes(uint8_t* data, size_t size, const uint8_t* key);
bool validate_bytes(const uint8_t* text, size_t size);

}  // namespace bench
