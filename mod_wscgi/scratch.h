// SPDX-License-Identifier: BSD-3-Clause
// Memory for what lasts no longer than a call: lighttpd is one thread, and all sessions share it.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "mod_wscgi/outbox.h"
#include "ws/frame.h"

namespace wscgi {

inline std::array<uint8_t, 256 * 1024> scratch;

// Where what a program writes is read to: larger than any packet that a default socket buffer lets
// through, and with room for the header of the first frame before it.
inline constexpr std::span<uint8_t> program_space = {scratch.data() + ws::max_header_size,
                                                     scratch.size() - ws::max_header_size};

// Empty between calls.
inline Outbox outbox;

}  // namespace wscgi
