// SPDX-License-Identifier: BSD-3-Clause
// The request's variables as an SCGI header.
#include "mod_wscgi/scgi.h"

#include <string>

namespace wscgi {

std::vector<uint8_t> scgi_header(const process::Environment& environment) {
    std::string variables;
    const auto add = [&variables](std::string_view name, std::string_view value) {
        variables.append(name).append(1, '\0').append(value).append(1, '\0');
    };
    add("CONTENT_LENGTH", "0");
    add("SCGI", "1");
    environment.for_each([&](std::string_view name, std::string_view value) {
        if (name != "CONTENT_LENGTH" && name != "SCGI") add(name, value);
    });
    const std::string header = std::to_string(variables.size()) + ":" + variables + ",";
    return {header.begin(), header.end()};
}

}  // namespace wscgi
