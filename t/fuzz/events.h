// SPDX-License-Identifier: BSD-3-Clause
// What a Connection reports, as one text that does not depend on how the input was cut.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>

#include "ws/connection.h"

namespace fuzz {

/// Ends the program, for the fuzzer to notice, if an invariant does not hold.
inline void require(bool holds) {
    if (!holds) abort();
}

inline std::string text_of(std::span<const uint8_t> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Collects events. Pieces are joined to messages; one that fails on the way is reported as far as
/// it came.
class EventLog {
  public:
    void add(const ws::Event& event) {
        switch (event.type) {
            case ws::EventType::message:
                add_piece(event);
                break;
            case ws::EventType::ping:
                line("ping", text_of(event.payload));
                break;
            case ws::EventType::pong:
                line("pong", text_of(event.payload));
                break;
            case ws::EventType::close:
                end = event.code;
                before_end = text.size();
                line("close " + std::to_string(event.code), std::string(event.reason));
                break;
            case ws::EventType::error:
                end = event.code;
                failed = true;
                end_reason = event.reason;
                before_end = text.size();
                if (begun_) line("cut", message_);
                line("error " + std::to_string(event.code), "");
                break;
            default:
                require(false);
        }
    }

    void line(const std::string& what, const std::string& payload) {
        text += what + "(" + payload + ")\n";
    }

    std::string text;

    // The peer's Close or an error, if there was one: its code, and the size of `text` before it.
    uint16_t end = 0;
    bool failed = false;
    std::string end_reason;
    size_t before_end = std::string::npos;

  private:
    void add_piece(const ws::Event& event) {
        require(event.first == !begun_);
        require(!event.payload.empty() || event.last);
        if (event.first) {
            message_.clear();
            opcode_ = event.opcode;
        }
        require(event.opcode == opcode_);
        message_ += text_of(event.payload);
        begun_ = !event.last;
        if (event.last) line(opcode_ == ws::Opcode::text ? "text" : "binary", message_);
    }

    std::string message_;
    ws::Opcode opcode_ = ws::Opcode::text;
    bool begun_ = false;
};

/// Calls visit(piece) for one piece of `data` after another, each of at most `size` bytes and in
/// memory of exactly its size, so that a sanitizer sees every step beyond.
template <class Visit>
void for_each_piece(std::span<const uint8_t> data, size_t size, Visit visit) {
    while (!data.empty()) {
        const auto piece = data.first(std::min(size, data.size()));
        data = data.subspan(piece.size());
        const auto copy = std::make_unique<uint8_t[]>(piece.size());
        std::memcpy(copy.get(), piece.data(), piece.size());
        visit(std::span<uint8_t>(copy.get(), piece.size()));
    }
}

/// Feeds `data` to `connection` in pieces of at most `piece` bytes and adds its events and replies
/// to the logs.
inline void feed(ws::Connection& connection, std::span<const uint8_t> data, size_t piece,
                 size_t space_size, EventLog& events, std::string& replies) {
    const auto space = std::make_unique<uint8_t[]>(space_size);
    for_each_piece(data, piece, [&](std::span<uint8_t> input) {
        for (;;) {
            const ws::Event event = connection.receive(input, {space.get(), space_size});
            if (event.type == ws::EventType::need_input || event.type == ws::EventType::closed)
                break;
            events.add(event);
            uint8_t out[2 * ws::max_control_frame];
            replies += text_of(std::span(out).first(connection.take_pending(out)));
            require(!connection.pending());
        }
        require(input.empty());
    });
}

}  // namespace fuzz
