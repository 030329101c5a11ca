// SPDX-License-Identifier: BSD-3-Clause
// A head written anew says what the request said, and cannot be made to say more.
#include "mod_fd_transfer/request_text.h"

#include "suite.h"

using fd_transfer::RequestText;

START_TEST(line_fields_and_end) {
    std::string out = "left over";
    RequestText text(out, "GET", "/a?b", "HTTP/1.1");
    text.field("Host", "h");
    text.field("X-Empty", "");
    text.end(false);
    ck_assert_str_eq(out.c_str(), "GET /a?b HTTP/1.1\r\nHost: h\r\nX-Empty: \r\n\r\n");
}
END_TEST

START_TEST(the_chunked_coding_is_said_again) {
    std::string out;
    RequestText(out, "POST", "/", "HTTP/1.1").end(true);
    ck_assert_str_eq(out.c_str(), "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
}
END_TEST

START_TEST(a_value_cannot_end_the_head) {
    std::string out;
    RequestText text(out, "GET", "/", "HTTP/1.1");
    text.field("X", "a\r\n\r\nGET /other HTTP/1.1");
    text.field("Y", "a\nb");
    text.field("Z", std::string_view("a\0b", 3));
    text.field("", "no name");
    text.end(false);
    ck_assert_str_eq(out.c_str(), "GET / HTTP/1.1\r\n\r\n");
}
END_TEST

int main() {
    return run_suite("request_text", {line_fields_and_end, the_chunked_coding_is_said_again,
                                      a_value_cannot_end_the_head});
}
