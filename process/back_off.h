// SPDX-License-Identifier: BSD-3-Clause
// When to start again what has just ended: at once the first time, then ever more slowly.
#pragma once

#include <algorithm>
#include <cstdint>

namespace process {

class BackOff {
  public:
    // `longest`: the longest wait in seconds. `healthy`: a run of so many seconds forgets the past.
    constexpr BackOff(int64_t longest, int64_t healthy) : longest_(longest), healthy_(healthy) {}

    // A run that began at `started` ended at `now` (seconds). Returns when the next may begin.
    constexpr int64_t ended(int64_t started, int64_t now) {
        if (now - started >= healthy_) delay_ = 0;
        const int64_t when = now + delay_;
        delay_ = std::min(longest_, delay_ ? delay_ * 2 : 1);
        return when;
    }

  private:
    int64_t longest_;
    int64_t healthy_;
    int64_t delay_ = 0;
};

}  // namespace process
