// SPDX-License-Identifier: BSD-3-Clause
// The options that name a program to run.
#include "lighty/program_options.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

namespace lighty {
namespace {

std::vector<std::string> words_of(std::string_view text) {
    std::vector<std::string> words;
    while (!text.empty()) {
        const size_t end = std::min(text.find_first_of(" \t"), text.size());
        if (end > 0) words.emplace_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return words;
}

void check_program(const std::string& path, Options& options) {
    struct stat status;
    const std::string quoted = '"' + path + '"';
    if (path[0] != '/')
        options.fail("bin-path", quoted + " is not an absolute path", "begin it with /");
    else if (stat(path.c_str(), &status) != 0)
        options.fail("bin-path", quoted + ": " + strerror(errno),
                     "install the program there or correct the path");
    else if (!S_ISREG(status.st_mode) || access(path.c_str(), X_OK) != 0)
        options.fail("bin-path", quoted + " is not an executable file",
                     "chmod +x it, for the user that lighttpd runs as");
}

void check_directory(const std::string& path, Options& options) {
    struct stat status;
    if (stat(path.c_str(), &status) != 0 || !S_ISDIR(status.st_mode))
        options.fail("working-directory", '"' + path + "\" is not a directory",
                     "create it, or leave the option out");
}

}  // namespace

namespace {

// lighttpd has become server.username when it reads this.
bool may_be_set(int resource, uint64_t value) {
    rlimit now;
    return geteuid() == 0 || getrlimit(resource, &now) != 0 || now.rlim_max == RLIM_INFINITY ||
           value <= now.rlim_max;
}

}  // namespace

std::optional<User> read_user(Options& options) {
    const std::string name = options.text("user");
    if (name.empty()) return std::nullopt;
    const passwd* const entry = getpwnam(name.c_str());
    if (!entry) {
        options.fail("user", '"' + name + "\" is no user of this system",
                     "correct the name, or create the user");
        return std::nullopt;
    }
    if (entry->pw_uid == geteuid()) return std::nullopt;
    if (geteuid() != 0) {
        options.fail("user", '"' + name + "\" cannot be had: lighttpd does not run as root",
                     "leave out server.username, or start the program by other means and name "
                     "its \"socket\"");
        return std::nullopt;
    }
    User user = {entry->pw_uid, entry->pw_gid, {}};
    int count = 0;
    getgrouplist(name.c_str(), user.group, nullptr, &count);
    user.groups.resize(size_t(count));
    getgrouplist(name.c_str(), user.group, user.groups.data(), &count);
    return user;
}

std::vector<std::pair<int, uint64_t>> read_limits(Options& options) {
    constexpr std::pair<std::string_view, int> known[] = {
        {"as", RLIMIT_AS},       {"core", RLIMIT_CORE},     {"cpu", RLIMIT_CPU},
        {"fsize", RLIMIT_FSIZE}, {"nofile", RLIMIT_NOFILE}, {"nproc", RLIMIT_NPROC},
        {"stack", RLIMIT_STACK}};
    std::vector<std::pair<int, uint64_t>> limits;
    for (const auto& [name, value] : options.table("limits")) {
        const auto* const found = std::find_if(std::begin(known), std::end(known),
                                               [&](const auto& one) { return one.first == name; });
        uint64_t limit = 0;
        const char* const end = value.data() + value.size();
        const bool is_number =
            !value.empty() && std::from_chars(value.data(), end, limit).ptr == end;
        if (found == std::end(known))
            options.fail("limits", "unknown limit \"" + name + '"',
                         "known are \"as\" \"core\" \"cpu\" \"fsize\" \"nofile\" \"nproc\" "
                         "\"stack\"");
        else if (!is_number)
            options.fail("limits", '"' + name + "\" => \"" + value + "\" is not a number",
                         "write bytes, seconds or a count, as setrlimit(2) takes it");
        else if (!may_be_set(found->second, limit))
            options.fail("limits", '"' + name + "\" => " + value + " is above the hard limit, which "
                         "only root may raise, and the server does not run as root",
                         "lower it, or raise the limit of the server (LimitNOFILE= and the like of "
                         "systemd)");
        else
            limits.emplace_back(found->second, limit);
    }
    return limits;
}

ProgramOptions read_program_options(Options& options) {
    ProgramOptions program;
    program.command = words_of(options.text("bin-path"));
    if (program.command.empty() && options.has("bin-path"))
        options.fail("bin-path", "is empty", "name the program to run");
    if (!program.command.empty()) check_program(program.command[0], options);
    for (std::string& argument : options.list("arguments"))
        program.command.push_back(std::move(argument));
    program.directory = options.text("working-directory");
    if (!program.directory.empty()) check_directory(program.directory, options);
    program.environment = options.table("bin-environment");
    program.copied_environment = options.list("bin-copy-environment");
    program.limits = read_limits(options);
    return program;
}

}  // namespace lighty
