// SPDX-License-Identifier: BSD-3-Clause
// The options of one endpoint, read and judged.
#pragma once

#include <string_view>

#include "lighty/options.h"
#include "mod_wscgi/service.h"

namespace wscgi {

// False after an error, which is in the log with directive, value and remedy.
bool read_service(std::string_view prefix, lighty::Options& options, Service& service);

// The same for programs that are found by wscgi.assign: model "session", and no "bin-path".
bool read_assigned_service(lighty::Options& options, Service& service);

}  // namespace wscgi
