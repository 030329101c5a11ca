// SPDX-License-Identifier: BSD-3-Clause
// The framing that an endpoint is configured with.
#pragma once

#include <memory>

#include "mod_wscgi/endpoint.h"
#include "mod_wscgi/framing.h"

namespace wscgi {

// Not for FramingKind::websocket, which has frames instead of a framing.
std::unique_ptr<MessageFraming> make_framing(const Endpoint& endpoint);

// Bytes of a program that make no whole message yet and may be kept; then they are passed on as
// a piece of one.
constexpr size_t unframed_enough = 16 * 1024;

}  // namespace wscgi
