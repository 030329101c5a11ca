// SPDX-License-Identifier: BSD-3-Clause
// Receiving: from frames to messages, control frames and the closing handshake. What is sent is in
// connection_send.cpp.
#include "ws/connection.h"

#include <algorithm>
#include <cstring>

#include "ws/deflate.h"

namespace ws {
namespace {

constexpr const char* bad_utf8 = "text is not valid UTF-8";
constexpr const char* message_too_big = "message larger than the limit";

std::string_view as_text(std::span<const uint8_t> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

Connection::Connection(Role role, const Limits& limits, PerMessageDeflate* deflate,
                       MaskKeySource mask_keys)
    : frame_(role, deflate != nullptr),
      limits_(limits),
      deflate_(deflate),
      mask_keys_(mask_keys),
      short_allowed_(max_short_payload <= std::min(limits.max_message, limits.max_frame) &&
                     limits.max_fragments > 0),
      role_(role) {}

Event Connection::receive(std::span<uint8_t>& input, std::span<uint8_t> inflate_space) {
    Event event;
    if (failing_) {
        fail_now(close_code_, failure_, event);
    } else if (!may_receive(state_)) {
        input = input.subspan(input.size());
        event.type = EventType::closed;
    } else if (!receive_short(input, event)) {
        while (!step(input, inflate_space, event)) continue;
    }
    return event;
}

bool Connection::step(std::span<uint8_t>& input, std::span<uint8_t> inflate_space, Event& event) {
    if (!in_frame_) {
        switch (frame_.read_header(input)) {
            case FrameReader::Step::need_input:
                return true;
            case FrameReader::Step::error:
                return fail_now(close_code::protocol_error, describe(frame_.error()), event);
            case FrameReader::Step::header:
                break;
        }
        if (begin_frame(event)) return true;
        in_frame_ = true;
    }
    if (is_control(frame_.header().opcode)) return receive_control(input, event);
    return compressed_ ? receive_compressed(input, inflate_space, event)
                       : receive_data(input, event);
}

// A message in one short frame, which needs no more of all that than to be valid text.
bool Connection::receive_short(std::span<uint8_t>& input, Event& event) {
    if (in_frame_ || receiving_ != Opcode::continuation || !short_allowed_) return false;
    const auto payload = frame_.read_short_frame(input);
    if (!payload) return false;
    receiving_ = frame_.header().opcode;
    begun_ = false;
    utf8_.reset();
    return report_piece(*payload, true, event);
}

// Holds a frame's header against the message it belongs to and against the limits.
bool Connection::begin_frame(Event& event) {
    const FrameHeader& header = frame_.header();
    if (is_control(header.opcode)) return false;
    const bool continues = header.opcode == Opcode::continuation;
    if (continues != (receiving_ != Opcode::continuation))
        return fail_now(close_code::protocol_error,
                        continues ? "continuation without a message to continue"
                                  : "new message inside a fragmented one",
                        event);
    if (!continues) begin_message(header);
    const char* excess = nullptr;
    if (header.length > limits_.max_frame)
        excess = "frame larger than the limit";
    else if (++fragments_ > limits_.max_fragments)
        excess = "message of more fragments than the limit";
    else if (!compressed_ && header.length > limits_.max_message - message_size_)
        excess = message_too_big;
    if (excess) return fail_now(close_code::too_big, excess, event);
    if (!compressed_) message_size_ += header.length;  // otherwise counted as it is inflated
    return false;
}

void Connection::begin_message(const FrameHeader& header) {
    receiving_ = header.opcode;
    compressed_ = header.rsv1;
    message_size_ = 0;
    fragments_ = 0;
    begun_ = false;
    utf8_.reset();
}

bool Connection::receive_data(std::span<uint8_t>& input, Event& event) {
    const auto piece = frame_.peek(input);
    frame_.take(input, piece.size());
    if (frame_.remaining() > 0) return piece.empty() ? true : report_piece(piece, false, event);
    in_frame_ = false;
    return report_piece(piece, frame_.header().fin, event);
}

bool Connection::receive_compressed(std::span<uint8_t>& input, std::span<uint8_t> space,
                                    Event& event) {
    if (space.empty()) {
        event.type = EventType::need_output;
        return true;
    }
    const auto compressed = frame_.peek(input);
    const bool last = frame_.header().fin && compressed.size() == frame_.remaining();
    // At the limit one byte more tells a message that ends there from one that does not.
    uint8_t excess;
    const uint64_t room = limits_.max_message - message_size_;
    if (space.size() > room) space = room > 0 ? space.first(room) : std::span(&excess, 1);

    std::span<const uint8_t> rest = compressed;
    const auto [status, produced] = deflate_->inflate(rest, last, space);
    frame_.take(input, compressed.size() - rest.size());

    using Status = DeflateProgress::Status;
    if (produced > room)
        fail_next(close_code::too_big, message_too_big);
    else if (status == Status::bad_data)
        fail_next(close_code::invalid_payload, "compressed data is not a DEFLATE stream");
    else if (status == Status::no_memory)
        fail_next(close_code::internal_error, "no memory to inflate a message");
    const auto piece = space.first(std::min<uint64_t>(produced, room));
    message_size_ += piece.size();
    if (!failing_ && status != Status::need_output && frame_.remaining() == 0) in_frame_ = false;
    if (!failing_ && status == Status::need_input && piece.empty()) return in_frame_;
    return report_piece(piece, !failing_ && status == Status::done, event);
}

// Reports what there is to report of `piece`: text up to the first impossible byte.
bool Connection::report_piece(std::span<uint8_t> piece, bool last, Event& event) {
    if (receiving_ == Opcode::text) {
        const size_t valid = utf8_.check(piece);
        if (valid < piece.size() || (last && !utf8_.complete())) {
            piece = piece.first(valid);
            last = false;
            fail_next(close_code::invalid_payload, bad_utf8);
        }
    }
    if (piece.empty() && !last) return failing_ && fail_now(close_code_, failure_, event);
    event.type = EventType::message;
    event.opcode = receiving_;
    event.first = !begun_;
    event.last = last;
    event.payload = piece;
    begun_ = true;
    if (last) receiving_ = Opcode::continuation;
    return true;
}

bool Connection::receive_control(std::span<uint8_t>& input, Event& event) {
    const bool whole = gathered_ == 0 && input.size() >= frame_.remaining();
    if (!whole && pong_waiting_) {
        // The frame must be gathered where the waiting pong is. A new ping makes that obsolete
        // (5.5.3), and so does a Close (5.5.2).
        if (frame_.header().opcode == Opcode::pong) {
            event.type = EventType::need_output;
            return true;
        }
        pong_waiting_ = false;
    }
    auto payload = frame_.peek(input);
    frame_.take(input, payload.size());
    if (!whole) {
        std::copy(payload.begin(), payload.end(), control_ + gathered_);
        gathered_ += payload.size();
        if (frame_.remaining() > 0) return true;
        payload = {control_, gathered_};
        gathered_ = 0;
    }
    in_frame_ = false;
    return report_control(payload, event);
}

bool Connection::report_control(std::span<uint8_t> payload, Event& event) {
    const Opcode opcode = frame_.header().opcode;
    if (opcode == Opcode::close) return report_close(payload, event);
    event.type = opcode == Opcode::ping ? EventType::ping : EventType::pong;
    event.payload = payload;
    if (opcode == Opcode::ping && may_send(state_)) {
        std::memmove(control_, payload.data(), payload.size());
        pong_size_ = static_cast<uint8_t>(payload.size());
        pong_waiting_ = true;
    }
    return true;
}

bool Connection::report_close(std::span<uint8_t> payload, Event& event) {
    uint16_t code = close_code::none;
    std::span<uint8_t> reason;
    if (payload.size() == 1)
        return fail_now(close_code::protocol_error, "Close frame with half a code", event);
    if (payload.size() >= 2) {
        code = static_cast<uint16_t>(payload[0] << 8 | payload[1]);
        reason = payload.subspan(2);
        if (!valid_on_wire(code))
            return fail_now(close_code::protocol_error,
                            "Close frame with a code that may not be sent", event);
        if (!valid_utf8(reason))
            return fail_now(close_code::invalid_payload,
                            "reason of a Close frame is not valid UTF-8", event);
    }
    event.type = EventType::close;
    event.code = code;
    event.reason = as_text(reason);
    close_waiting_ = state_ == CloseState::open;
    close_code_ = code;
    state_ = after(state_, CloseStep::receive_close);
    return true;
}

// Always true: it is to be reported.
bool Connection::fail_now(uint16_t code, const char* why, Event& event) {
    failing_ = false;
    close_code_ = code;
    failure_ = why;
    close_waiting_ = state_ == CloseState::open;
    state_ = after(state_, CloseStep::failure);
    event.type = EventType::error;
    event.code = code;
    event.reason = why;
    return true;
}

// Fails once what was received before is reported.
void Connection::fail_next(uint16_t code, const char* why) {
    failing_ = true;
    close_code_ = code;
    failure_ = why;
}

}  // namespace ws
