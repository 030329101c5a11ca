// SPDX-License-Identifier: BSD-3-Clause
// The request's variables for a daemon, as the header of an SCGI request: a netstring of names and
// values, each ended by a NUL byte. CONTENT_LENGTH comes first and is 0, SCGI is 1. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "process/environment.h"

namespace wscgi {

std::vector<uint8_t> scgi_header(const process::Environment& environment);

}  // namespace wscgi
