// SPDX-License-Identifier: BSD-3-Clause
// Counters, in the server's table of plugin statistics.
#include "mod_fd_transfer/statistics.h"

#include <string>

#include "lighty/lighttpd.h"

namespace fd_transfer {

Statistics::Statistics(std::string_view service) {
    constexpr const char* names[count] = {"handed-over", "waited",   "refused",  "taken",
                                          "returned",    "rejected", "repeated", "unanswered",
                                          "broken-off",  "started",  "died",     "failed",
                                          "workers",     "waiting",  "untaken", "unlogged"};
    for (int i = 0; i < count; ++i) {
        const std::string key = "fd-transfer." + std::string(service) + '.' + names[i];
        values_[i] = plugin_stats_get_ptr(key.data(), uint32_t(key.size()));
        *values_[i] = 0;
    }
}

}  // namespace fd_transfer
