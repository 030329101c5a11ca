// SPDX-License-Identifier: BSD-3-Clause
// The options that name a program to run: the same in both modules, and the same words as in
// lighttpd's FastCGI module where they mean the same.
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lighty/options.h"

namespace lighty {

struct ProgramOptions {
    std::vector<std::string> command;  // "bin-path", its words; then "arguments"; empty: none
    std::string directory;             // "working-directory"; empty: none
    std::vector<std::pair<std::string, std::string>> environment;  // "bin-environment"
    std::vector<std::string> copied_environment;                   // "bin-copy-environment"
    std::vector<std::pair<int, uint64_t>> limits;                  // "limits": RLIMIT_* and value
};

// Whom a program runs as, if not as lighttpd's user.
struct User {
    uid_t id;
    gid_t group;
    std::vector<gid_t> groups;  // supplementary
};

// "user": a name. None if there is no such option, or lighttpd is that user already. lighttpd must
// run as root otherwise: when it reads this it has become server.username.
std::optional<User> read_user(Options& options);

// "limits" alone.
std::vector<std::pair<int, uint64_t>> read_limits(Options& options);

// Reads and judges them: the program must be there and be executable when the server starts, not
// at the first request. After an error options.failed().
ProgramOptions read_program_options(Options& options);

}  // namespace lighty
