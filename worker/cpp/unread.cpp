// SPDX-License-Identifier: BSD-3-Clause
// Whether a client may still be sending, as far as its request's head tells.
#include "worker/cpp/unread.h"

#include <strings.h>

#include <charconv>
#include <cstdint>

namespace fdworker {
namespace {

constexpr std::string_view length_name = "Content-Length:";
constexpr std::string_view coding_name = "Transfer-Encoding:";

// `name` ends in a colon.
bool is_field(std::string_view line, std::string_view name) {
    return line.size() >= name.size() && strncasecmp(line.data(), name.data(), name.size()) == 0;
}

bool has_length(std::string_view line, std::size_t bytes) {
    line.remove_prefix(length_name.size());
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    std::uint64_t length = 0;
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), length);
    return error == std::errc() && length == bytes;
}

}  // namespace

Unread unread_of(std::string_view head, std::string_view rest) {
    bool is_whole = rest.empty();  // nothing more is to come
    for (std::size_t at = head.find('\n'); at < head.size();) {
        const std::size_t end = std::min(head.find('\n', ++at), head.size());
        const std::string_view line = head.substr(at, end - at);
        if (is_field(line, coding_name)) return Unread::likely;
        if (is_field(line, length_name)) is_whole = has_length(line, rest.size());
        at = end;
    }
    return is_whole ? Unread::none : Unread::likely;
}

}  // namespace fdworker
