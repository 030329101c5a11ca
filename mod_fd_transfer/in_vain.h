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
    struct Seen {
        unsigned times;  // since the last answer, at most `memory` seconds apart
        int64_t since;   // seconds, the first of them
    };

    // One more. `connection`: a number that only it has. `progress`: a number that changes when
    // somebody answers, such as the bytes that were written to its client. `now` in seconds.
    Seen count(uintptr_t connection, uint64_t progress, int64_t now) {
        if (series_.size() == most && !series_.contains(connection)) series_.clear();
        const auto [entry, is_new] = series_.try_emplace(connection, Series{progress, 0, now, now});
        Series& series = entry->second;
        if (series.progress != progress) series = {progress, 0, now, now};
        series.last = now;
        return {++series.times, series.first};
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
        uint64_t progress;
        unsigned times;
        int64_t first, last;
    };
    std::unordered_map<uintptr_t, Series> series_;
};

}  // namespace fd_transfer
