// SPDX-License-Identifier: BSD-3-Clause
// The environment of a program about to be started: NAME=VALUE strings in one block of memory.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace process {

class Environment {
  public:
    // With room for most requests: to grow piece by piece leaves holes in the heap of a server.
    Environment() {
        block_.reserve(2048);
        offsets_.reserve(64);
    }

    // Adds NAME=VALUE. A name that is already there keeps its first value: what the server knows
    // of a request is added first, and what comes from outside must not replace it.
    // Returns false, adding nothing, if it is there already, or if name or value hold a NUL byte.
    bool add(std::string_view name, std::string_view value);

    bool contains(std::string_view name) const;
    size_t size() const { return offsets_.size(); }

    // Calls read(name, value) for each variable, in the order in which they were added.
    template <class Read>
    void for_each(Read read) const {
        for (const size_t offset : offsets_) {
            const std::string_view entry = block_.data() + offset;
            const size_t equals = entry.find('=');
            read(entry.substr(0, equals), entry.substr(equals + 1));
        }
    }

    // The NULL-terminated array that execve(2) wants; valid until the next add().
    char* const* pointers();

  private:
    std::string block_;
    std::vector<size_t> offsets_;
    std::vector<char*> pointers_;
};

}  // namespace process
