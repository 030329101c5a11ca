// SPDX-License-Identifier: BSD-3-Clause
// What happens when a process is at its RLIMIT_NOFILE.
#pragma once

#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

// While it lives, no more descriptors than these are free.
class FewDescriptors {
  public:
    explicit FewDescriptors(int free = 0) {
        const int next = dup(2);
        close(next);
        getrlimit(RLIMIT_NOFILE, &old_limit_);
        const rlimit limit = {rlim_t(next + free), old_limit_.rlim_max};
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    ~FewDescriptors() {
        const int error = errno;
        setrlimit(RLIMIT_NOFILE, &old_limit_);
        errno = error;
    }

  private:
    rlimit old_limit_;
};
