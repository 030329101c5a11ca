// SPDX-License-Identifier: BSD-3-Clause
// Connections that came back from workers without an answer: how often in a row, so that a request
// does not go round for ever between lighttpd and workers that do not want it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>

namespace fd_transfer {

class ReturnsInVain {
  public:
    // One more. `connection`: a number that only it has. `written`: bytes that were written to its
    // client; if they are more than the last time, somebody has answered since. `now` in seconds.
    // Returns how many there have been since the last answer, at most `memory` seconds apart.
    unsigned count(uintptr_t connection, uint64_t written, int64_t now) {
        if (series_.size() == most && !series_.contains(connection)) series_.clear();
        Series& series = series_[connection];
        if (series.written != written) series = {written, 0, now};
        series.last = now;
        return ++series.times;
    }

    bool contains(uintptr_t connection) const { return series_.contains(connection); }

    // To be called once a second.
    void trigger(int64_t now) {
        std::erase_if(series_, [now](const auto& e) { return e.second.last + memory < now; });
    }

    bool empty() const { return series_.empty(); }

    static constexpr int64_t memory = 60;  // seconds
    static constexpr size_t most = 65536;  // connections; beyond that all is forgotten

  private:
    struct Series {
        uint64_t written = 0;
        unsigned times = 0;
        int64_t last = 0;
    };
    std::unordered_map<uintptr_t, Series> series_;
};

}  // namespace fd_transfer
