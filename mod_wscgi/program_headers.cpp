// SPDX-License-Identifier: BSD-3-Clause
// The CGI header that a program prints before anything else.
#include "mod_wscgi/program_headers.h"

#include <algorithm>
#include <charconv>

namespace wscgi {
namespace {

std::string_view trimmed(std::string_view text) {
    const size_t first = text.find_first_not_of(" \t");
    if (first == text.npos) return {};
    return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

bool is_token(std::string_view text) {
    const auto is_token_character = [](char c) {
        return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
               std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
    };
    return !text.empty() && std::all_of(text.begin(), text.end(), is_token_character);
}

bool is_value(std::string_view text) {
    return std::none_of(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f;
    });
}

bool equals_ignoring_case(std::string_view a, std::string_view b) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? c | 0x20 : c; };
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [&](char x, char y) { return lower(x) == lower(y); });
}

bool read_status(std::string_view value, int& status) {
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), status);
    return error == std::errc() && status >= 100 && status <= 599 &&
           (end == value.data() + value.size() || *end == ' ');
}

bool read_line(std::string_view line, ProgramHeaders& headers) {
    const size_t colon = line.find(':');
    if (colon == line.npos) return false;
    const std::string_view name = line.substr(0, colon);
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (!is_token(name) || !is_value(value)) return false;
    if (equals_ignoring_case(name, "Status")) return read_status(value, headers.status);
    headers.fields.emplace_back(name, value);
    return true;
}

}  // namespace

HeadersResult read_program_headers(std::span<uint8_t>& bytes, ProgramHeaders& headers,
                                   std::string& error) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    headers = {};
    for (size_t position = 0;;) {
        const size_t end = text.find('\n', position);
        if (end == text.npos) return HeadersResult::incomplete;
        std::string_view line = text.substr(position, end - position);
        if (line.ends_with('\r')) line.remove_suffix(1);
        position = end + 1;
        if (line.empty()) {
            bytes = bytes.subspan(position);
            return HeadersResult::complete;
        }
        if (read_line(line, headers)) continue;
        error = "\"" + std::string(line.substr(0, 80)) + "\" is no header line (Name: value)";
        return HeadersResult::malformed;
    }
}

}  // namespace wscgi
