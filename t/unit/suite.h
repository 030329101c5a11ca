// SPDX-License-Identifier: BSD-3-Clause
// Check, and the main() that every unit test has. To be included after everything else: check.h
// makes macros of common words.
#pragma once

#include <check.h>
#include <stdlib.h>

#include <initializer_list>

inline int run_suite(const char* topic, std::initializer_list<const TTest*> tests) {
    Suite* const suite = suite_create(topic);
    TCase* const tcase = tcase_create(topic);
    for (const TTest* const test : tests) tcase_add_test(tcase, test);
    suite_add_tcase(suite, tcase);
    SRunner* const runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
