// SPDX-License-Identifier: BSD-3-Clause
// Which endpoint a path belongs to, and how it splits into SCRIPT_NAME and PATH_INFO.
#include "mod_wscgi/endpoint.h"

#include "t/unit/suite.h"  // last

using wscgi::Endpoint;
using wscgi::Endpoints;

namespace {

Endpoints endpoints_with(std::initializer_list<const char*> prefixes) {
    Endpoints endpoints;
    for (const char* prefix : prefixes) {
        endpoints.push_back(std::make_unique<Endpoint>());
        endpoints.back()->prefix = prefix;
    }
    return endpoints;
}

std::string found(const Endpoints& endpoints, std::string_view path) {
    const Endpoint* const endpoint = find_endpoint(endpoints, path);
    return endpoint ? endpoint->prefix : "none";
}

}  // namespace

START_TEST(the_longest_prefix_wins_in_any_order) {
    for (const Endpoints& endpoints :
         {endpoints_with({"/a", "/a/b/", "/"}), endpoints_with({"/", "/a/b/", "/a"})}) {
        ck_assert(found(endpoints, "/a/b/c") == "/a/b/");
        ck_assert(found(endpoints, "/a/b") == "/a");
        ck_assert(found(endpoints, "/a") == "/a");
        ck_assert(found(endpoints, "/b") == "/");
    }
}
END_TEST

START_TEST(a_prefix_ends_where_a_path_segment_ends) {
    const Endpoints endpoints = endpoints_with({"/count"});
    ck_assert(found(endpoints, "/count") == "/count");
    ck_assert(found(endpoints, "/count/") == "/count");
    ck_assert(found(endpoints, "/counter") == "none");
    ck_assert(found(endpoints, "/coun") == "none");
}
END_TEST

START_TEST(a_path_splits_into_script_name_and_path_info) {
    const struct {
        const char *prefix, *path, *script_name;
    } cases[] = {{"/count", "/count/x", "/count"},
                 {"/count/", "/count/x/y", "/count"},
                 {"/count", "/count", "/count"},
                 {"/", "/x", ""}};
    for (const auto& one : cases) {
        const Endpoints endpoints = endpoints_with({one.prefix});
        ck_assert(script_name(*endpoints[0], one.path) == one.script_name);
    }
}
END_TEST

int main() {
    return run_suite("endpoint",
                     {the_longest_prefix_wins_in_any_order, a_prefix_ends_where_a_path_segment_ends,
                      a_path_splits_into_script_name_and_path_info});
}
