// SPDX-License-Identifier: BSD-3-Clause
// The framing "stream": bytes without boundaries, both ways; what lighttpd's mod_wstunnel does.
#pragma once

#include "mod_wscgi/endpoint.h"
#include "mod_wscgi/framing.h"

namespace wscgi {

class Stream : public MessageFraming {
  public:
    explicit Stream(MessageType type) : type_(type) {}

    Refusal to_program(const ws::Event& piece, Gathered& gathered) override;

    // What was read in one go is one message; of text, as far as its characters are whole.
    Piece from_program(std::span<uint8_t>& bytes, bool end, bool full) override;

  private:
    MessageType type_;
};

}  // namespace wscgi
