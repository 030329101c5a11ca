// SPDX-License-Identifier: BSD-3-Clause
// A head stays one head, whatever stands in it.
#include "mod_fd_transfer/request_text.h"

#include "suite.h"

using fd_transfer::RequestText;

START_TEST(blank_fields_are_absent) {
    std::string out = "left over";
    RequestText text(out, "GET", "/a?b", "HTTP/1.1");
    text.host("h");
    text.field("X", "");
    text.end();
    ck_assert_str_eq(out.c_str(), "GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n");
}
END_TEST

START_TEST(a_blank_host_is_said) {
    std::string out;
    RequestText text(out, "POST", "/", "HTTP/1.1");
    text.host("");
    text.host("a\r\nb");
    text.end();
    ck_assert_str_eq(out.c_str(), "POST / HTTP/1.1\r\nHost: \r\n\r\n");
}
END_TEST

START_TEST(a_value_cannot_end_the_head) {
    std::string out;
    RequestText text(out, "GET", "/", "HTTP/1.1");
    text.field("X", "a\r\n\r\nGET /other HTTP/1.1");
    text.field("Y", "a\nb");
    text.field("Z", std::string_view("a\0b", 3));
    text.field("", "no name");
    text.end();
    ck_assert_str_eq(out.c_str(), "GET / HTTP/1.1\r\n\r\n");
}
END_TEST

int main() {
    return run_suite("request_text",
                     {blank_fields_are_absent, a_blank_host_is_said, a_value_cannot_end_the_head});
}
