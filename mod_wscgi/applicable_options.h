// SPDX-License-Identifier: BSD-3-Clause
// Which options mean something for which model and framing.
#pragma once

#include "lighty/options.h"
#include "mod_wscgi/service.h"

namespace wscgi {

// An option that would be without effect is a mistake of somebody who expects one: it is an error,
// in the log with directive, value and remedy. `service` has its model, program, addresses and
// contract.
void check_applicable(const Service& service, lighty::Options& options);

}  // namespace wscgi
