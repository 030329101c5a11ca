// SPDX-License-Identifier: BSD-3-Clause
// Memory for what lasts no longer than a call: lighttpd is one thread, and all sessions share it.
#pragma once

#include <array>
#include <cstdint>

#include "mod_wscgi/outbox.h"

namespace wscgi {

// Larger than any packet that a default socket buffer lets through.
inline std::array<uint8_t, 256 * 1024> scratch;

// Empty between calls.
inline Outbox outbox;

}  // namespace wscgi
