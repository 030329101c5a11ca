// SPDX-License-Identifier: BSD-3-Clause
// The CGI header that a program prints before anything else (RFC 3875 section 6.3): a status, and
// fields for the response. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace wscgi {

struct ProgramHeaders {
    int status = 0;  // 0: the program gave none
    std::vector<std::pair<std::string_view, std::string_view>>
        fields;  // "Status" is not among them
};

enum class HeadersResult : uint8_t {
    incomplete,  // the empty line has not come yet
    complete,
    malformed,
};

// Reads the header at the front of `bytes`, which shrinks by it when it is complete; the fields
// point into it. Lines end with "\n" or "\r\n". `error` says what is malformed, for people.
HeadersResult read_program_headers(std::span<uint8_t>& bytes, ProgramHeaders& headers,
                                   std::string& error);

}  // namespace wscgi
