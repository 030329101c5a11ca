// SPDX-License-Identifier: BSD-3-Clause
// Framings: how the messages of a session look in the bytes that a program reads and writes. Pure:
// no lighttpd, no system call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string_view>
#include <vector>

#include "ws/connection.h"

namespace wscgi {

// Pieces of memory to be written to the program one after the other.
class Gathered {
  public:
    using Bytes = std::span<const uint8_t>;

    // `bytes` must stay where they are until they are written.
    void add(Bytes bytes) { pieces_.push_back(bytes); }
    // As add(), for bytes that nobody else keeps.
    void add_own(std::vector<uint8_t> bytes) { add(own_.emplace_back(std::move(bytes))); }

    const std::vector<Bytes>& pieces() const { return pieces_; }
    bool empty() const { return pieces_.empty(); }
    void clear() {
        pieces_.clear();
        own_.clear();
    }

  private:
    std::vector<Bytes> pieces_;
    std::deque<std::vector<uint8_t>> own_;
};

// What a framing refuses, as a close code and a reason for the client; code 0: nothing.
struct Refusal {
    uint16_t code = 0;
    const char* reason = "";
};

// What a program has said, as far as it has come.
struct Piece {
    enum class Kind : uint8_t {
        none,     // more of the program's bytes are needed
        message,  // a piece of a message: opcode, payload, last
        close,    // the program wants the session closed: code, and the reason as payload
        ping,     // the client is to be asked whether it lives: payload
        invalid,  // the program has broken the framing's rules: the reason is a sentence for people
    } kind = Kind::none;
    ws::Opcode opcode = ws::Opcode::text;
    bool last = false;  // the calls up to the one with `last` make one message
    uint16_t code = 0;
    std::span<uint8_t> payload;
    const char* reason = "";
};

// A framing in which lighttpd speaks WebSocket, and the program something simpler.
class MessageFraming {
  public:
    virtual ~MessageFraming() = default;

    // What the program reads for `piece`, a piece of a client's message (EventType::message).
    virtual Refusal to_program(const ws::Event& piece, Gathered& gathered) = 0;

    // What the program reads when the client closes with `code` (1005: none); then its input ends.
    virtual void close_to_program(uint16_t code, std::string_view reason, Gathered& gathered) {
        (void)code, (void)reason, (void)gathered;
    }

    // Takes the next piece from the front of what the program wrote, which shrinks by it.
    // `end`: the program will write no more. `full`: no more of its bytes can be kept, so that
    // what is there must be taken.
    virtual Piece from_program(std::span<uint8_t>& bytes, bool end, bool full) = 0;
};

}  // namespace wscgi
