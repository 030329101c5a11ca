// SPDX-License-Identifier: BSD-3-Clause
// How often in a row a connection came back without an answer.
#include "mod_fd_transfer/in_vain.h"

#include "suite.h"

using fd_transfer::ReturnsInVain;

START_TEST(each_connection_has_its_own_count) {
    ReturnsInVain returns;
    for (unsigned n = 1; n < 5; ++n)
        for (uintptr_t connection = 1; connection < 4; ++connection)
            ck_assert_uint_eq(returns.count(connection, 0, 100).times, n);
}
END_TEST

START_TEST(an_answer_ends_the_row) {
    ReturnsInVain returns;
    ck_assert_uint_eq(returns.count(1, 500, 100).times, 1);
    ck_assert_uint_eq(returns.count(1, 500, 100).times, 2);
    ck_assert_uint_eq(returns.count(1, 700, 100).times, 1);
    ck_assert_uint_eq(returns.count(1, 700, 100).times, 2);
}
END_TEST

START_TEST(a_row_has_a_beginning) {
    ReturnsInVain returns;
    ck_assert_int_eq(returns.count(1, 500, 100).since, 100);
    ck_assert_int_eq(returns.count(1, 500, 103).since, 100);
    ck_assert_int_eq(returns.count(1, 700, 105).since, 105);
}
END_TEST

START_TEST(what_is_long_ago_is_forgotten) {
    ReturnsInVain returns;
    returns.count(1, 0, 100);
    returns.trigger(100 + ReturnsInVain::memory);
    ck_assert_uint_eq(returns.count(1, 0, 100 + ReturnsInVain::memory).times, 2);
    returns.trigger(100 + 2 * ReturnsInVain::memory);
    ck_assert(!returns.empty());
    returns.trigger(101 + 2 * ReturnsInVain::memory);
    ck_assert(returns.empty());
}
END_TEST

START_TEST(it_does_not_grow_without_end) {
    ReturnsInVain returns;
    for (uintptr_t connection = 1; connection <= ReturnsInVain::most; ++connection)
        returns.count(connection, 0, 100);
    ck_assert_uint_eq(returns.count(1, 0, 100).times, 2);
    ck_assert_uint_eq(returns.count(ReturnsInVain::most + 1, 0, 100).times, 1);
    ck_assert_uint_eq(returns.count(1, 0, 100).times, 1);
}
END_TEST

int main() {
    return run_suite("returns in vain",
                     {each_connection_has_its_own_count, an_answer_ends_the_row, a_row_has_a_beginning,
                      what_is_long_ago_is_forgotten, it_does_not_grow_without_end});
}
