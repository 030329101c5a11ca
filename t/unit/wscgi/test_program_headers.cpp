// SPDX-License-Identifier: BSD-3-Clause
// The header that a program prints: read whole, cut anywhere, and refused when it is none.
#include <string>

#include "mod_wscgi/program_headers.h"

#include "t/unit/suite.h"  // last

using wscgi::HeadersResult;
using wscgi::ProgramHeaders;

namespace {

HeadersResult read(std::string& text, ProgramHeaders& headers, std::string& rest) {
    std::span<uint8_t> bytes(reinterpret_cast<uint8_t*>(text.data()), text.size());
    std::string error;
    const HeadersResult result = wscgi::read_program_headers(bytes, headers, error);
    ck_assert((result == HeadersResult::malformed) == !error.empty());
    rest.assign(bytes.begin(), bytes.end());
    return result;
}

HeadersResult result_of(std::string text) {
    ProgramHeaders headers;
    std::string rest;
    return read(text, headers, rest);
}

}  // namespace

START_TEST(status_and_fields_are_read_and_the_rest_is_left) {
    for (const std::string newline : {"\n", "\r\n"}) {
        std::string text = "status: 101 Switching Protocols" + newline + "Upgrade:websocket" +
                           newline + "Set-Cookie: \t a=b; c " + newline + newline + "frames";
        ProgramHeaders headers;
        std::string rest;
        ck_assert(read(text, headers, rest) == HeadersResult::complete);
        ck_assert_int_eq(headers.status, 101);
        ck_assert_uint_eq(headers.fields.size(), 2);
        ck_assert(headers.fields[0].first == "Upgrade" && headers.fields[0].second == "websocket");
        ck_assert(headers.fields[1].first == "Set-Cookie" && headers.fields[1].second == "a=b; c");
        ck_assert(rest == "frames");
    }
}
END_TEST

START_TEST(a_header_cut_anywhere_is_incomplete) {
    const std::string text = "Status: 403\r\nX: y\r\n\r\n";
    for (size_t i = 0; i < text.size(); ++i)
        ck_assert(result_of(text.substr(0, i)) == HeadersResult::incomplete);
    ck_assert(result_of(text) == HeadersResult::complete);
}
END_TEST

START_TEST(what_is_no_header_is_malformed) {
    for (const char* text :
         {"hello\n\n", "bad name: x\n\n", ": x\n\n", "Status: abc\n\n", "Status: 99\n\n",
          "Status: 600\n\n", "Status: 200x\n\n", "X: a\rb\n\n", "X: \x01\n\n"})
        ck_assert_msg(result_of(text) == HeadersResult::malformed, "%s", text);
    ck_assert(result_of(std::string("X: a\0b\n\n", 8)) == HeadersResult::malformed);
}
END_TEST

START_TEST(an_empty_header_is_complete_and_says_nothing) {
    std::string text = "\nrest", rest;
    ProgramHeaders headers;
    ck_assert(read(text, headers, rest) == HeadersResult::complete);
    ck_assert_int_eq(headers.status, 0);
    ck_assert(rest == "rest");
}
END_TEST

int main() {
    return run_suite(
        "program_headers",
        {status_and_fields_are_read_and_the_rest_is_left, a_header_cut_anywhere_is_incomplete,
         what_is_no_header_is_malformed, an_empty_header_is_complete_and_says_nothing});
}
