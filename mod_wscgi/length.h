// SPDX-License-Identifier: BSD-3-Clause
// The framing "length": records of a kind (1 byte), a length (4 bytes, big-endian) and so many
// bytes. Lossless: text and binary, empty messages, close codes and pings, both ways.
//
//   T  text message        t  the same, and more of the message follows
//   B  binary message      b  the same
//   C  close: 2 bytes of code (big-endian) and a reason; no bytes at all: without a code
//   P  ping the client (to the client only)
#pragma once

#include <array>

#include "mod_wscgi/framing.h"

namespace wscgi {

class Length : public MessageFraming {
  public:
    Refusal to_program(const ws::Event& piece, Gathered& gathered) override;
    void close_to_program(uint16_t code, std::string_view reason, Gathered& gathered) override;
    Piece from_program(std::span<uint8_t>& bytes, bool end, bool full) override;

  private:
    Piece begin_record(std::span<uint8_t>& bytes, bool end);
    Piece take_message(std::span<uint8_t>& bytes, bool end);
    Piece take_control(std::span<uint8_t>& bytes, bool end);

    uint8_t kind_ = 0;      // of the record whose bytes are being read; 0: none
    size_t remaining_ = 0;  // of them
};

}  // namespace wscgi
