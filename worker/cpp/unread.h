// SPDX-License-Identifier: BSD-3-Clause
// Whether a client may still be sending, as far as its request's head tells.
#pragma once

#include <string_view>

#include "worker/cpp/fdworker.h"

namespace fdworker {

// `head`: request line and fields, as the server has found them valid. `rest`: what was read after
// it.
Unread unread_of(std::string_view head, std::string_view rest);

}  // namespace fdworker
