// SPDX-License-Identifier: BSD-3-Clause
// Whether the workers that lighttpd starts for a service live, or end as soon as they are started:
// then nobody should wait for them.
#pragma once

#include <sys/wait.h>
#include <sysexits.h>

#include <cstdint>

namespace fd_transfer {

class WorkerHealth {
  public:
    // Milliseconds. A worker that lived longer was not at fault for having been started.
    static constexpr int64_t healthy_run = 500;
    // So many in a row that ended earlier, and none lives: the service is down.
    static constexpr unsigned failures_max = 3;

    void started() { ++alive_; }
    // `status` is that of waitpid(2). `ran`: milliseconds. `received`: requests were taken from the
    // queue since the last call.
    void ended(int status, int64_t ran, bool received) {
        if (alive_ > 0) --alive_;
        if (is_configuration_error(status))
            failures_ = failures_max;
        else if (ran >= healthy_run || received)
            failures_ = 0;
        else
            failed();
    }
    // It could not even be started.
    void failed() {
        if (failures_ < failures_max) ++failures_;
    }
    // What has become of the workers is not known; others are started.
    void forget() { alive_ = 0; }

    bool down() const { return alive_ == 0 && failures_ == failures_max; }

    // How a worker says that it will never run as it is configured.
    static bool is_configuration_error(int status) {
        return WIFEXITED(status) && WEXITSTATUS(status) == EX_CONFIG;
    }

  private:
    unsigned alive_ = 0;
    unsigned failures_ = 0;
};

}  // namespace fd_transfer
