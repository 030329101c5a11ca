// SPDX-License-Identifier: BSD-3-Clause
// The text of a request's head.
#include "mod_fd_transfer/request_text.h"

namespace fd_transfer {
namespace {

bool fits_a_line(std::string_view value) {
    using namespace std::string_view_literals;
    return value.find_first_of("\r\n\0"sv) == value.npos;
}

}  // namespace

RequestText::RequestText(std::string& out, std::string_view method, std::string_view target,
                         std::string_view version)
    : out_(out) {
    out_.clear();
    out_.append(method).append(1, ' ').append(target).append(1, ' ').append(version);
    out_.append("\r\n");
}

void RequestText::host(std::string_view value) {
    if (fits_a_line(value)) out_.append("Host: ").append(value).append("\r\n");
}

void RequestText::field(std::string_view name, std::string_view value) {
    if (name.empty() || value.empty() || !fits_a_line(value)) return;
    out_.append(name).append(": ").append(value).append("\r\n");
}

void RequestText::end() { out_.append("\r\n"); }

}  // namespace fd_transfer
