// SPDX-License-Identifier: BSD-3-Clause
// Framings: how the messages of a session look in the bytes that a program reads and writes. Pure:
// no lighttpd, no system call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ws/connection.h"

namespace wscgi {

// Pieces of memory to be written to the program one after the other. They must stay where they are
// until they are written.
using Gathered = std::vector<std::span<const uint8_t>>;

// What a framing refuses, as a close code and a reason for the client; code 0: nothing.
struct Refusal {
    uint16_t code = 0;
    const char* reason = "";
};

// A piece of a message to the client. The calls up to the one with `last` make one message.
struct Piece {
    bool present = false;  // false: more of the program's bytes are needed
    ws::Opcode opcode = ws::Opcode::text;
    bool last = false;
    std::span<uint8_t> payload;
};

// A framing in which lighttpd speaks WebSocket, and the program something simpler.
class MessageFraming {
  public:
    virtual ~MessageFraming() = default;

    // What the program reads for `piece`, a piece of a client's message (EventType::message).
    virtual Refusal to_program(const ws::Event& piece, Gathered& gathered) = 0;

    // Takes the next piece from the front of what the program wrote, which shrinks by it.
    // `end`: the program will write no more. `full`: no more of its bytes can be kept, so that
    // what is there must be taken.
    virtual Piece from_program(std::span<uint8_t>& bytes, bool end, bool full) = 0;
};

}  // namespace wscgi
