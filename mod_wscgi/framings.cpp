// SPDX-License-Identifier: BSD-3-Clause
// The framing that an endpoint is configured with.
#include "mod_wscgi/framings.h"

#include "mod_wscgi/length.h"
#include "mod_wscgi/lines.h"
#include "mod_wscgi/packet.h"
#include "mod_wscgi/stream.h"
#include "mod_wscgi/whole_messages.h"

namespace wscgi {
namespace {

std::unique_ptr<MessageFraming> make_plain_framing(const Endpoint& endpoint) {
    switch (endpoint.framing) {
        case FramingKind::stream:
            return std::make_unique<Stream>(endpoint.message_type);
        case FramingKind::packet:
            return std::make_unique<Packet>(endpoint.message_type);
        case FramingKind::length:
            return std::make_unique<Length>();
        case FramingKind::lines:
        case FramingKind::websocket:
            break;
    }
    return std::make_unique<Lines>(endpoint.message_type);
}

}  // namespace

std::unique_ptr<MessageFraming> make_framing(const Endpoint& endpoint) {
    std::unique_ptr<MessageFraming> framing = make_plain_framing(endpoint);
    // The messages of several sessions must not be mixed up, nor those of one cut into packets.
    if (endpoint.model == Model::shared || endpoint.framing == FramingKind::packet)
        framing = std::make_unique<WholeMessages>(std::move(framing));
    return framing;
}

}  // namespace wscgi
