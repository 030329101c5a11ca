// SPDX-License-Identifier: BSD-3-Clause
// Alternating rounds: every contender once per round, medians at the end, ratios to the first.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace bench {

struct Contender {
    std::string name;
    std::function<void()> work;  // does `amount` of the units once
};

/// What is printed as `required` for a ratio; none: nothing is promised.
struct Figure {
    std::string contender;
    double at_least = 0;
};

/// Measures and prints a table: medians in `unit` per second, and how many times as fast the first
/// contender is as each other. Remembers whether a required figure was missed.
void compare(const std::string& title, double amount, const std::string& unit,
             const std::vector<Contender>& contenders, const std::vector<Figure>& required = {});

bool all_figures_reached();

void kernels();   // kernels.cpp
void messages();  // messages.cpp
void deflate();   // deflate.cpp

}  // namespace bench
