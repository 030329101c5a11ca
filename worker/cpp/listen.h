// SPDX-License-Identifier: BSD-3-Clause
// A listening unix socket at a path.
#pragma once

#include "worker/cpp/fdworker.h"

namespace fdworker {

// `type`: SOCK_STREAM or SOCK_SEQPACKET. A socket file that a killed process left is replaced: one
// at which nobody listens and which no socket here is bound to. Of several processes that do so at
// once one gets the path. No descriptor if it failed, see errno: EADDRINUSE, the path is
// somebody's; EWOULDBLOCK, other processes have kept the path's directory locked for two seconds.
Socket listen_at(const char* path, int type);

}  // namespace fdworker
