// SPDX-License-Identifier: BSD-3-Clause
// What the engine is worth, in ratios: see doc/engine.md. Exits with 1 if a required figure was
// missed.
#include <algorithm>
#include <chrono>
#include <cstdio>

#include "bench/engine/rounds.h"
#include "ws/connection.h"
#include "ws/deflate.h"
#include "ws/kernels.h"

namespace bench {
namespace {

constexpr int rounds = 9;
constexpr double seconds_per_turn = 0.02;

bool reached = true;

double seconds_of(const std::function<void()>& work, int times) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < times; i++) work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// How many times make a turn long enough to be measured.
int times_for(const std::function<void()>& work) {
    int times = 1;
    while (seconds_of(work, times) < seconds_per_turn) times *= 2;
    return times;
}

}  // namespace

void compare(const std::string& title, double amount, const std::string& unit,
             const std::vector<Contender>& contenders, const std::vector<Figure>& required) {
    std::vector<int> times;
    for (const auto& contender : contenders) times.push_back(times_for(contender.work));
    std::vector<std::vector<double>> rates(contenders.size());
    for (int round = 0; round < rounds; round++)
        for (size_t i = 0; i < contenders.size(); i++)
            rates[i].push_back(amount * times[i] / seconds_of(contenders[i].work, times[i]));
    for (auto& rate : rates) std::nth_element(rate.begin(), rate.begin() + rounds / 2, rate.end());

    printf("\n%s (%s per second, median of %d alternating rounds)\n", title.c_str(), unit.c_str(),
           rounds);
    const double ours = rates[0][rounds / 2];
    for (size_t i = 0; i < contenders.size(); i++) {
        const double rate = rates[i][rounds / 2];
        printf("  %-34s %10.3f", contenders[i].name.c_str(), rate);
        if (i > 0) printf("   ratio %7.2f", ours / rate);
        for (const auto& figure : required) {
            if (figure.contender != contenders[i].name) continue;
            const bool good = ours / rate >= figure.at_least;
            printf("   required %.1f: %s", figure.at_least, good ? "reached" : "MISSED");
            reached = reached && good;
        }
        printf("\n");
    }
}

bool all_figures_reached() { return reached; }

}  // namespace bench

int main() {
    printf("engine, compiled -O2, kernels %s\n", ws::kernels().name);
    bench::kernels();
    bench::messages();
    bench::deflate();
    printf(
        "\nmemory of an idle connection: %zu bytes; with permessage-deflate and shared streams "
        "%zu more\n",
        sizeof(ws::Connection), sizeof(ws::PerMessageDeflate));
    printf("\n%s\n", bench::all_figures_reached() ? "all required figures reached"
                                                  : "a required figure was MISSED");
    return bench::all_figures_reached() ? 0 : 1;
}
