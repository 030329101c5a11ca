// SPDX-License-Identifier: BSD-3-Clause
// The longest prefix of a path wins.
#include "mod_fd_transfer/routes.h"

#include "suite.h"

using Routes = fd_transfer::Routes<const char>;

START_TEST(the_longest_prefix_wins_whatever_the_order) {
    const char root = 'r', hot = 'h', hotter = 'H';
    for (int order = 0; order < 2; ++order) {
        Routes routes;
        routes.add(order ? "/" : "/hot/er/", order ? &root : &hotter);
        routes.add("/hot/", &hot);
        routes.add(order ? "/hot/er/" : "/", order ? &hotter : &root);
        ck_assert_ptr_eq(routes.find("/hot/er/x"), &hotter);
        ck_assert_ptr_eq(routes.find("/hot/er"), &hot);
        ck_assert_ptr_eq(routes.find("/hot"), &root);
        ck_assert_ptr_eq(routes.find("/"), &root);
    }
}
END_TEST

START_TEST(what_has_no_prefix_has_no_service) {
    const char hot = 'h';
    Routes routes;
    ck_assert_ptr_null(routes.find("/hot/"));
    routes.add("/hot/", &hot);
    for (const char* path : {"/", "/hot", "/HOT/", "/hotel/", "", "*", "host:443"})
        ck_assert_ptr_null(routes.find(path));
}
END_TEST

START_TEST(a_prefix_added_again_is_replaced) {
    const char one = '1', two = '2';
    Routes routes;
    routes.add("/hot/", &one);
    routes.add("/hot/", &two);
    ck_assert_ptr_eq(routes.find("/hot/"), &two);
}
END_TEST

int main() {
    return run_suite("routes",
                     {the_longest_prefix_wins_whatever_the_order, what_has_no_prefix_has_no_service,
                      a_prefix_added_again_is_replaced});
}
