// SPDX-License-Identifier: BSD-3-Clause
// Counters that mod_status shows.
#pragma once

#include <cstdint>
#include <string_view>

#include "lighty/lighttpd.h"

namespace wscgi {

// `name` begins with "wscgi.".
inline int& counter(std::string_view name) {
    return *array_get_int_ptr(&plugin_stats, name.data(), static_cast<uint32_t>(name.size()));
}

inline void count(std::string_view name, int by = 1) { counter(name) += by; }

// What has passed between clients and programs. On the clients' side of it are the bytes: frames,
// as they were on the connection.
struct Traffic {
    uint64_t messages_in = 0;
    uint64_t messages_out = 0;
    uint64_t bytes_in = 0;
    uint64_t bytes_out = 0;

    Traffic& operator+=(const Traffic& more) {
        messages_in += more.messages_in;
        messages_out += more.messages_out;
        bytes_in += more.bytes_in;
        bytes_out += more.bytes_out;
        return *this;
    }
};

// Shows it. lighttpd's counters are ints: these begin again at 0 after 2^31 - 1.
inline void show(const Traffic& traffic) {
    const auto set = [](std::string_view name, uint64_t value) {
        counter(name) = static_cast<int>(value & INT32_MAX);
    };
    set("wscgi.messages-in", traffic.messages_in);
    set("wscgi.messages-out", traffic.messages_out);
    set("wscgi.kbytes-in", traffic.bytes_in / 1024);
    set("wscgi.kbytes-out", traffic.bytes_out / 1024);
}

}  // namespace wscgi
