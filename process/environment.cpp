// SPDX-License-Identifier: BSD-3-Clause
// The environment of a program about to be started.
#include "process/environment.h"

namespace process {

bool Environment::contains(std::string_view name) const {
    for (const size_t offset : offsets_) {
        const std::string_view entry = std::string_view(block_).substr(offset);
        if (entry.size() > name.size() && entry[name.size()] == '=' && entry.starts_with(name))
            return true;
    }
    return false;
}

bool Environment::add(std::string_view name, std::string_view value) {
    if (name.find('\0') != name.npos || value.find('\0') != value.npos || contains(name))
        return false;
    offsets_.push_back(block_.size());
    block_.append(name).append(1, '=').append(value).append(1, '\0');
    return true;
}

char* const* Environment::pointers() {
    pointers_.clear();
    for (const size_t offset : offsets_) pointers_.push_back(block_.data() + offset);
    pointers_.push_back(nullptr);
    return pointers_.data();
}

}  // namespace process
