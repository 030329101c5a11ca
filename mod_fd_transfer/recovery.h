// SPDX-License-Identifier: BSD-3-Clause
// What one service has handed over and not yet heard of, and what it does when a worker has died.
#pragma once

#include <deque>

#include "mod_fd_transfer/configuration.h"
#include "mod_fd_transfer/statistics.h"
#include "mod_fd_transfer/untaken.h"

namespace fd_transfer {

class Recovery {
  public:
    // Both stay the caller's.
    Recovery(const Settings& settings, Statistics& statistics)
        : settings_(settings), statistics_(statistics) {}

    // Whether one more duplicate may be kept.
    bool has_room() const { return untaken_.size() < size_t(settings_.max_untaken); }
    void keep(uint64_t id, Untaken handoff);
    // The worker has begun to answer, or returned the connection. None: no such hand-off (it may
    // have been let go before).
    std::optional<Untaken> release(uint64_t id);

    // Looks at what was sent through this channel. To be called when a worker has died, when the
    // channel has broken, and once a second.
    void look(size_t channel, const ChannelView& view);

    // Requests to be sent again, the oldest first.
    bool has_lost() const { return !lost_.empty(); }
    Untaken take_lost();
    void put_back_lost(Untaken handoff) { lost_.push_front(std::move(handoff)); }

    // Connections whose answer is complete, to be gone on with by the server.
    bool has_complete() const { return !complete_.empty(); }
    Untaken take_complete();

    // Once a second: lets go of what has taken too long.
    void trigger(int64_t now);

    // Descriptors that are kept here.
    int fds() const {
        return int(untaken_.size() + lost_.size() + complete_.size() + lingering_.size());
    }

  private:
    struct Lingering {
        process::FileDescriptor socket;
        int64_t until;
    };

    void settle(Fate fate, Untaken handoff, int64_t now);
    void refuse(Untaken handoff, int64_t now);
    void show() { statistics_[Statistics::untaken] = int(untaken_.size()); }

    const Settings& settings_;
    Statistics& statistics_;
    UntakenMap untaken_;
    std::deque<Untaken> lost_;
    std::deque<Untaken> complete_;
    std::deque<Lingering> lingering_;  // ended with a 502, until the client has seen it
};

}  // namespace fd_transfer
