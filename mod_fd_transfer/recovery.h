// SPDX-License-Identifier: BSD-3-Clause
// What one service has handed over and not yet heard of, and what it does when a worker has died.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "mod_fd_transfer/configuration.h"
#include "mod_fd_transfer/pending.h"
#include "mod_fd_transfer/return.h"
#include "mod_fd_transfer/statistics.h"

namespace fd_transfer {

class Recovery {
  public:
    // All stay the caller's.
    Recovery(const Settings& settings, Statistics& statistics, ReturnedConnections& returned)
        : settings_(settings),
          statistics_(statistics),
          returned_(returned),
          last_received_(settings.spawned() ? 1 : size_t(settings.workers)) {}

    // Whether so many more requests may be kept.
    bool has_room(size_t more) const {
        return untaken_.size() + more <= size_t(settings_.max_untaken);
    }
    // A request that has been sent; it stays the caller's.
    void keep(Pending& pending);
    bool keeps(uint64_t id) const { return untaken_.contains(id); }
    // The worker has begun to answer, or returned the connection. nullptr: no such hand-off (it
    // may have been let go before).
    Pending* hear_of(uint64_t id);
    // The connection is its worker's from now on. The server leaves it at the end of this turn; it
    // may come back before that.
    void let_go(Pending& pending);
    // When a hand-off was claimed by our hook, in seconds; nothing: no such hand-off.
    std::optional<int64_t> since(uint64_t id) const;
    // The request ends.
    void forget(Pending& pending);

    // What becomes of a hand-off, by its id.
    using Verdicts = std::vector<std::pair<uint64_t, Fate>>;

    // Looks at what was sent through this channel, and tells what is settled. To be called when a
    // worker has died, when the channel has broken, and once a second. What the dead had said
    // themselves must be read before the verdicts are carried out, and it may make some void.
    Verdicts look(size_t channel, ChannelView view);
    void carry_out(const Verdicts& verdicts);
    // Answered with an error status, unless the socket cannot be used any more.
    void refuse(Pending& pending, int status);

    // A request to be sent again, the oldest first; nullptr: none. It is `lost` until keep().
    Pending* first_lost() const { return lost_.empty() ? nullptr : lost_.front(); }
    // Takes it out of the list; nullptr: none.
    Pending* take_lost();

    // Takes one whose answer is complete, and whose connection the server goes on with; nullptr:
    // none.
    Pending* take_complete();

    // Once a second: refuses what nobody has begun to answer in time, and lets go of what takes too
    // long to say so. `stopping`: the server waits for its connections to end, so a second is long.
    void trigger(int64_t now, bool stopping);

  private:
    Pending* release(uint64_t id);
    void settle(Fate fate, Pending& pending);
    bool end_late(Pending& pending, int64_t now, bool stopping);
    void show() { statistics_[Statistics::untaken] = int(untaken_.size()); }

    const Settings& settings_;
    Statistics& statistics_;
    ReturnedConnections& returned_;
    std::map<uint64_t, Pending*> untaken_;  // ids grow: in the order of the hand-offs
    std::vector<uint64_t> last_received_;   // id, for each channel
    std::deque<Pending*> lost_;
    std::deque<Pending*> complete_;
};

}  // namespace fd_transfer
