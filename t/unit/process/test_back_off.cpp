// SPDX-License-Identifier: BSD-3-Clause
// At once the first time, then ever more slowly, up to a limit; a long run forgets the past.
#include "process/back_off.h"

#include "suite.h"

START_TEST(waits_double_up_to_the_longest) {
    process::BackOff back_off(10, 100);
    for (const int64_t wait : {0, 1, 2, 4, 8, 10, 10})
        ck_assert_int_eq(back_off.ended(1000, 1001), 1001 + wait);
}
END_TEST

START_TEST(a_healthy_run_starts_afresh) {
    process::BackOff back_off(10, 100);
    for (int i = 0; i < 5; ++i) back_off.ended(0, 1);
    ck_assert_int_eq(back_off.ended(1000, 1099), 1099 + 10);
    ck_assert_int_eq(back_off.ended(1000, 1100), 1100);
    ck_assert_int_eq(back_off.ended(1000, 1001), 1002);
}
END_TEST

int main() {
    return run_suite("back_off", {waits_double_up_to_the_longest, a_healthy_run_starts_afresh});
}
