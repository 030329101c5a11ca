// SPDX-License-Identifier: BSD-3-Clause
// Authorizers ("mode" => "authorizer" of FastCGI and the other gateways) and hand-offs to the same
// URLs. An authorizer decides only about requests that no module has claimed before, and this
// module claims early, as mod_proxy does: so the configuration must let the authorizer come first.
#pragma once

#include <span>
#include <string_view>

#include "lighty/lighttpd.h"

namespace fd_transfer {

// Checks the authorizers that stand anywhere in the configuration against `prefixes`, those of the
// services at the stage `uri`. False if one of them would not be asked; then the error is logged
// with the line to change. To be called from set_defaults.
bool authorizers_come_first(const server* srv, std::span<const std::string_view> prefixes);

}  // namespace fd_transfer
