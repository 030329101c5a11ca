// SPDX-License-Identifier: BSD-3-Clause
// NAME=VALUE strings: the first value stays, and nothing breaks out of its string.
#include "process/environment.h"

#include <string.h>

#include "suite.h"

START_TEST(it_ends_with_a_null_pointer) {
    process::Environment environment;
    ck_assert_ptr_null(environment.pointers()[0]);
    environment.add("A", "1");
    environment.add("B", "");
    char* const* const pointers = environment.pointers();
    ck_assert_str_eq(pointers[0], "A=1");
    ck_assert_str_eq(pointers[1], "B=");
    ck_assert_ptr_null(pointers[2]);
}
END_TEST

START_TEST(the_first_value_stays) {
    process::Environment environment;
    ck_assert(environment.add("NAME", "server"));
    ck_assert(!environment.add("NAME", "client"));
    ck_assert(environment.add("NAM", "x"));
    ck_assert(environment.add("NAME2", "y"));
    ck_assert_uint_eq(environment.size(), 3);
    ck_assert_str_eq(environment.pointers()[0], "NAME=server");
}
END_TEST

START_TEST(nul_bytes_are_refused) {
    using namespace std::string_view_literals;
    process::Environment environment;
    ck_assert(!environment.add("A\0B"sv, "1"));
    ck_assert(!environment.add("A", "1\0B=2"sv));
    ck_assert_uint_eq(environment.size(), 0);
}
END_TEST

START_TEST(pointers_stay_right_while_it_grows) {
    process::Environment environment;
    for (int i = 0; i < 1000; ++i) environment.add("N" + std::to_string(i), std::string(100, 'v'));
    char* const* const pointers = environment.pointers();
    for (int i = 0; i < 1000; ++i)
        ck_assert_int_eq(strncmp(pointers[i], ("N" + std::to_string(i) + "=v").c_str(), 3), 0);
}
END_TEST

int main() {
    return run_suite("environment", {it_ends_with_a_null_pointer, the_first_value_stays,
                                     nul_bytes_are_refused, pointers_stay_right_while_it_grows});
}
