// SPDX-License-Identifier: BSD-3-Clause
// Whether a process is stopped (SIGSTOP, or a debugger), so that it will do nothing by itself.
#pragma once

#include <sys/types.h>

namespace process {

// False too if the process is gone or cannot be seen.
bool is_stopped(pid_t pid);

}  // namespace process
