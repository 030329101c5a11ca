// SPDX-License-Identifier: BSD-3-Clause
// Relays: what happens between the bytes of a client and the bytes of its program. Pure: no
// lighttpd, no system call; a session feeds them and does what they ask for.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "mod_wscgi/framing.h"

namespace wscgi {

// Where a relay puts what the client is to receive.
class ClientOutput {
  public:
    // `bytes` must stay where they are until the call that they are part of has returned to the
    // session: they may be a program's own, or be shorter than Outbox::small.
    virtual void append(std::span<const uint8_t> bytes) = 0;
    // For bytes that will be overwritten before that: at most Outbox::room.
    virtual void append_copy(std::span<const uint8_t> bytes) = 0;

  protected:
    ~ClientOutput() = default;
};

// How a program has ended, after its last output.
struct ProgramEnd {
    enum class Kind : uint8_t {
        exited,   // with the status `number`; a daemon that ends the connection: with 0
        killed,   // by the signal `number`
        overdue,  // not at all, in spite of everything
        lost,     // a daemon's connection was reset
    } kind;
    int number;
};

class Relay {
  public:
    virtual ~Relay() = default;

    // Bytes of the client, which may be changed in place, are taken from the front of `bytes`; what
    // the program is to read is added to `gathered`, and may lie in `bytes`. True: write what was
    // gathered, and call again. False: all of them were taken, or input_held().
    virtual bool from_client(std::span<uint8_t>& bytes, Gathered& gathered) = 0;

    // Whether the client talks faster than it may: its bytes are to wait until tick() has allowed
    // more.
    virtual bool input_held() const { return false; }

    // The client's direction of the connection is at its end, by TCP's means, not WebSocket's.
    virtual void client_ended() = 0;

    // What the program has written; taken from the front of `bytes` as far as it can be framed.
    // `end`, `full`: as for MessageFraming.
    virtual void from_program(std::span<uint8_t>& bytes, bool end, bool full) = 0;

    // A piece that a shared program has written to all its sessions.
    virtual void deliver(const Piece& piece) = 0;

    // The program has ended and all it wrote was taken.
    virtual void program_ended(ProgramEnd end) = 0;

    // The server goes away, or wants the session to end: close with this code.
    virtual void shut_down(uint16_t code, std::string_view reason) = 0;

    // The client cannot be heard now: that it has not answered a ping yet means nothing.
    virtual void excuse_silence(int64_t now) { (void)now; }

    // To be called about once a second, `now` in seconds.
    virtual void tick(int64_t now) = 0;

    // Whether the program will get nothing more to read: its stdin is to be closed.
    virtual bool input_ended() const = 0;

    // Whether the program's output is still of use; if not, it is to end at once.
    virtual bool output_wanted() const = 0;

    // Whether the connection is to be closed, once what was appended is sent.
    virtual bool finished() const = 0;

    // Why it has ended, for the log.
    virtual std::string_view outcome() const = 0;

    // Messages that have passed, of the client and of the program.
    uint64_t messages_in() const { return messages_in_; }
    uint64_t messages_out() const { return messages_out_; }

  protected:
    uint64_t messages_in_ = 0;
    uint64_t messages_out_ = 0;
};

}  // namespace wscgi
