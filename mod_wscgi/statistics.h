// SPDX-License-Identifier: BSD-3-Clause
// Counters that mod_status shows.
#pragma once

#include <string_view>

#include "lighty/lighttpd.h"

namespace wscgi {

// `name` begins with "wscgi.".
inline void count(std::string_view name, int by = 1) {
    *array_get_int_ptr(&plugin_stats, name.data(), static_cast<uint32_t>(name.size())) += by;
}

}  // namespace wscgi
