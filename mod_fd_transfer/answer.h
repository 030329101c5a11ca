// SPDX-License-Identifier: BSD-3-Clause
// What a worker says of an answer of its own.
#pragma once

#include <cstdint>

namespace fd_transfer {

struct Answer {
    int status = 0;      // of HTTP; 0: not told
    uint64_t bytes = 0;  // of the response after its head
};

}  // namespace fd_transfer
