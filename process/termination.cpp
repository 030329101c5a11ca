// SPDX-License-Identifier: BSD-3-Clause
// How a program is made to end.
#include "process/termination.h"

#include <signal.h>

namespace process {

void Termination::tick(int64_t now) {
    if (now < next_) return;
    if (stage_ == Stage::asked) {
        terminate(now);
    } else if (stage_ == Stage::terminated) {
        kill_group();
        stage_ = Stage::killed;
    }
}

void Termination::terminate(int64_t now) {
    if (stage_ != Stage::asked) return;
    kill(-group_, SIGTERM);
    stage_ = Stage::terminated;
    next_ = now + grace_;
}

void Termination::kill_group() const { kill(-group_, SIGKILL); }

}  // namespace process
