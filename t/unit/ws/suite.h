// SPDX-License-Identifier: BSD-3-Clause
// What every test program of the engine has in common. Include after the engine's headers.
#pragma once

#include <check.h>

#include <cstdlib>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

using Bytes = std::vector<uint8_t>;

inline Bytes bytes_of(std::string_view text) { return {text.begin(), text.end()}; }

inline std::string_view text_of(std::span<const uint8_t> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Repeatable pseudo-random numbers.
class Random {
  public:
    explicit Random(uint32_t seed) : state_(seed) {}
    uint32_t operator()() {
        state_ = state_ * 1664525 + 1013904223;
        return state_ >> 8;
    }
    uint32_t below(uint32_t bound) { return (*this)() % bound; }

  private:
    uint32_t state_;
};

/// Masking keys for clients under test.
inline uint32_t test_mask_key() {
    static Random random(7);
    return random() * 2654435761u;
}

inline int run_suite(const char* name, std::initializer_list<const TTest*> tests) {
    TCase* tcase = tcase_create(name);
    tcase_set_timeout(tcase, 120);
    for (const TTest* test : tests) tcase_add_test(tcase, test);
    Suite* suite = suite_create(name);
    suite_add_tcase(suite, tcase);
    SRunner* runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
