// SPDX-License-Identifier: BSD-3-Clause
// The framing "lines": a message and "\n" on stdin, a line of stdout is a message. What programs
// written for websocketd expect.
#pragma once

#include "mod_wscgi/endpoint.h"
#include "mod_wscgi/framing.h"

namespace wscgi {

class Lines : public MessageFraming {
  public:
    explicit Lines(MessageType type) : type_(type) {}

    // A binary message is refused with 1003 unless the endpoint is for binary messages: most
    // programs that read lines could not tell it from text.
    Refusal to_program(const ws::Event& piece, Gathered& gathered) override;

    // A line ends with "\n" or "\r\n", which is not part of the message; the last line may lack it.
    // A line longer than what can be kept is passed on in pieces.
    Piece from_program(std::span<uint8_t>& bytes, bool end, bool full) override;

  private:
    MessageType type_;
    size_t searched_ = 0;      // bytes at the front that are known to hold no "\n"
    bool in_message_ = false;  // pieces of the line were taken already
};

}  // namespace wscgi
