// SPDX-License-Identifier: BSD-3-Clause
// permessage-deflate without context takeover (RFC 7692 7.2), a whole message at a time.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace bench {

std::vector<uint8_t> deflate_message(std::span<const uint8_t> message);

// Empty if it is not DEFLATE, or gives more than `most` bytes.
std::vector<uint8_t> inflate_message(std::vector<uint8_t> compressed, size_t most);

}  // namespace bench
