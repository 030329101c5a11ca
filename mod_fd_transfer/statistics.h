// SPDX-License-Identifier: BSD-3-Clause
// Counters, one set for each service, shown by mod_status as fd-transfer.<prefix>.<name>.
#pragma once

#include <string_view>

namespace fd_transfer {

class Statistics {
  public:
    enum Counter {
        handed_over,  // requests sent to a worker, in all
        waited,       // of these, those that had to wait for room in the queue
        refused,      // answered 503: backlog full, or deadline passed
        taken,        // answers that workers said to have begun
        returned,     // connections that workers gave back
        rejected,     // replies of workers that were rubbish
        repeated,     // requests sent again, since their worker had died before it answered
        unanswered,   // requests whose worker had died, that could not be sent again: 502
        broken_off,   // connections whose worker had died within the answer
        started,      // workers
        died,         // workers
        failed,       // attempts to start a worker, or to connect to one
        workers,      // now: processes, or connections
        waiting,      // now: requests in the backlog
        untaken,      // now: connections that are kept
        unlogged,     // now: answers of which the access log waits to hear the end
        count
    };

    // To be called while the server starts, and after each reload.
    explicit Statistics(std::string_view service);

    int& operator[](Counter counter) { return *values_[counter]; }

  private:
    int* values_[count];  // owned by the server
};

}  // namespace fd_transfer
