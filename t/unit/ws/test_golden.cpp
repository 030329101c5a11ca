// SPDX-License-Identifier: BSD-3-Clause
// Every golden case: whole, byte by byte, and cut in two at every place; for both roles.
#include <check.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "golden.h"
#include "ws/kernels.h"

using golden::Case;
using golden::Cut;

static std::vector<Case> cases;

static void expect_no_difference(const Case& c, ws::Role role, Cut cut) {
    const std::string difference = golden::run(c, role, cut);
    if (difference.empty()) return;
    ck_abort_msg("%s:%d: %s, %s, cut every %zu, once at %zu, kernels %s:%s", c.file.c_str(), c.line,
                 c.name.c_str(), role == ws::Role::server ? "server" : "client", cut.every,
                 cut.once, ws::kernels().name, difference.c_str());
}

START_TEST(whole) {
    const Case& c = cases[_i];
    for (const auto* kernels : ws::usable_kernels()) {
        ws::use_kernels(*kernels);
        for (const auto role : c.roles) expect_no_difference(c, role, {});
    }
}
END_TEST

START_TEST(in_pieces_of_one_to_sixteen_bytes) {
    const Case& c = cases[_i];
    for (const auto role : c.roles)
        for (size_t every = 1; every <= 16; every++)
            expect_no_difference(c, role, {.every = every});
}
END_TEST

// Long cases are not cut everywhere, but at as many places as make 8 MiB of input in all.
START_TEST(cut_in_two_everywhere) {
    const Case& c = cases[_i];
    for (const auto role : c.roles) {
        const size_t size = golden::input_size(c, role);
        const size_t step = 1 + size * size / (8 * 1024 * 1024);
        for (size_t at = 1; at < size; at += step) expect_no_difference(c, role, {.once = at});
    }
}
END_TEST

// The file must have every case of these groups, by number; its line is `1.1=8 1.2=8 ...`.
static std::string numbers;

static std::map<std::string, int> group_sizes() {
    std::map<std::string, int> sizes;
    for (const Case& c : cases) {
        const std::string number = c.name.substr(0, c.name.find(' '));
        const auto dot = number.rfind('.');
        const int last = atoi(number.c_str() + dot + 1);
        int& size = sizes[number.substr(0, dot)];
        ck_assert_msg(last == size + 1, "%s is out of order", number.c_str());
        size = last;
    }
    return sizes;
}

START_TEST(no_number_is_missing) {
    std::string found;
    for (const auto& [group, size] : group_sizes()) {
        if (!found.empty()) found += " ";
        found += group + "=" + std::to_string(size);
    }
    ck_assert_str_eq(found.c_str(), numbers.c_str());
}
END_TEST

int main(int argc, char** argv) {
    for (int i = 1; i < argc; i++) {
        if (std::string(argv[i]) == "--numbers" && i + 1 < argc) {
            numbers = argv[++i];
            continue;
        }
        auto more = golden::load(argv[i]);
        cases.insert(cases.end(), more.begin(), more.end());
    }
    if (cases.empty()) {
        fprintf(stderr, "usage: %s [--numbers GROUP=COUNT...] FILE...\n", argv[0]);
        return 1;
    }
    printf("%zu cases\n", cases.size());
    const int count = static_cast<int>(cases.size());
    TCase* tcase = tcase_create("golden");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, whole, 0, count);
    tcase_add_loop_test(tcase, in_pieces_of_one_to_sixteen_bytes, 0, count);
    tcase_add_loop_test(tcase, cut_in_two_everywhere, 0, count);
    if (!numbers.empty()) tcase_add_test(tcase, no_number_is_missing);
    Suite* suite = suite_create("golden");
    suite_add_tcase(suite, tcase);
    SRunner* runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
