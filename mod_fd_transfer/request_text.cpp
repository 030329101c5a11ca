// SPDX-License-Identifier: BSD-3-Clause
// The head of a request, written out again.
#include "mod_fd_transfer/request_text.h"

namespace fd_transfer {

RequestText::RequestText(std::string& out, std::string_view method, std::string_view target,
                         std::string_view version)
    : out_(out) {
    out_.clear();
    out_.append(method).append(1, ' ').append(target).append(1, ' ').append(version);
    out_.append("\r\n");
}

void RequestText::field(std::string_view name, std::string_view value) {
    using namespace std::string_view_literals;
    if (name.empty() || value.find_first_of("\r\n\0"sv) != value.npos) return;
    out_.append(name).append(": ").append(value).append("\r\n");
}

void RequestText::end(bool chunked) {
    if (chunked) field("Transfer-Encoding", "chunked");
    out_.append("\r\n");
}

}  // namespace fd_transfer
