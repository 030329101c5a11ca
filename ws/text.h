// SPDX-License-Identifier: BSD-3-Clause
// A short text of bounded length, held by value.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace ws {

template <size_t capacity>
class Text {
  public:
    Text() = default;

    /// Appends `more`. A text that would not fit is left as it was, and false returned.
    bool append(std::string_view more) {
        if (more.size() > capacity - size_) return false;
        std::copy(more.begin(), more.end(), characters_ + size_);
        size_ += more.size();
        return true;
    }

    operator std::string_view() const { return {characters_, size_}; }
    std::string_view view() const { return *this; }
    bool empty() const { return size_ == 0; }

  private:
    size_t size_ = 0;
    char characters_[capacity];
};

}  // namespace ws
