// SPDX-License-Identifier: BSD-3-Clause
// The framing "packet": the program has one SOCK_SEQPACKET socket for input and output; what it
// reads in one go is one message, and so is what it writes.
#pragma once

#include "mod_wscgi/endpoint.h"
#include "mod_wscgi/framing.h"

namespace wscgi {

// Bytes of a message, at most: what fits the socket's default buffer (net.core.wmem_default).
constexpr uint64_t max_packet = 180 * 1024;

// To be used inside WholeMessages, on a channel that keeps the boundaries of what is gathered and
// hands over what it receives packet by packet.
class Packet : public MessageFraming {
  public:
    explicit Packet(MessageType type) : type_(type) {}

    // An empty message is not sent: it would look like the end of the input.
    Refusal to_program(const ws::Event& piece, Gathered& gathered) override {
        if (!piece.payload.empty()) gathered.add(piece.payload);
        return {};
    }

    Piece from_program(std::span<uint8_t>& bytes, bool, bool) override {
        Piece piece;
        if (bytes.empty()) return piece;
        piece.kind = Piece::Kind::message;
        piece.opcode = type_ == MessageType::text ? ws::Opcode::text : ws::Opcode::binary;
        piece.last = true;
        piece.payload = bytes;
        bytes = {};
        return piece;
    }

  private:
    MessageType type_;
};

}  // namespace wscgi
