// SPDX-License-Identifier: BSD-3-Clause
// A listening unix socket at a path.
#pragma once

#include "worker/cpp/fdworker.h"

namespace fdworker {

// `type`: SOCK_STREAM or SOCK_SEQPACKET. A socket file on which nobody listens is replaced. No
// descriptor if it failed; see errno.
Socket listen_at(const char* path, int type);

}  // namespace fdworker
