// SPDX-License-Identifier: BSD-3-Clause
// Sending: headers in front of payloads, compressed frames, control frames, and the replies that
// the protocol demands.
#include <algorithm>
#include <bit>
#include <cassert>

#include "ws/connection.h"
#include "ws/deflate.h"
#include "ws/mask.h"

namespace ws {
namespace {

std::span<const uint8_t> as_bytes(std::string_view text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// A Close frame's payload: nothing, or the code and the reason.
struct ClosePayload {
    uint8_t bytes[max_control_payload];
    size_t size = 0;

    ClosePayload(uint16_t code, std::string_view reason) {
        if (code == close_code::none) return;
        bytes[0] = static_cast<uint8_t>(code >> 8);
        bytes[1] = static_cast<uint8_t>(code);
        std::copy(reason.begin(), reason.end(), bytes + 2);
        size = 2 + reason.size();
    }
    operator std::span<const uint8_t>() const { return {bytes, size}; }
};

}  // namespace

const char* describe(SendStatus status) {
    switch (status) {
        case SendStatus::ok:
            return "sent";
        case SendStatus::need_output:
            return "the output is full, call again";
        case SendStatus::closing:
            return "nothing may follow a Close";
        case SendStatus::wrong_opcode:
            return "not the opcode of a message, or not of this one";
        case SendStatus::wrong_compression:
            return "the message was begun the other way";
        case SendStatus::control_too_long:
            return "more than fits a control frame";
        case SendStatus::bad_close_code:
            return "a close code that may not be sent";
        case SendStatus::bad_utf8:
            return "the reason is not valid UTF-8";
        case SendStatus::no_space:
            return "the output is too small";
        case SendStatus::not_negotiated:
            return "compression was not agreed on";
        case SendStatus::no_memory:
            return "no compressor to be had";
    }
    return "unknown status";
}

SendStatus Connection::check_message(Opcode opcode, bool compressed) const {
    if (!may_send(state_)) return SendStatus::closing;
    if (opcode != Opcode::text && opcode != Opcode::binary) return SendStatus::wrong_opcode;
    if (!sending_message()) return SendStatus::ok;
    if (opcode != sending_) return SendStatus::wrong_opcode;
    return compressed == sending_compressed_ ? SendStatus::ok : SendStatus::wrong_compression;
}

MaskKey Connection::new_mask_key() const {
    assert(mask_keys_ != nullptr);  // see MaskKeySource
    return std::bit_cast<MaskKey>(mask_keys_());
}

// The header of the outgoing message's next frame.
FrameHeader Connection::next_header(uint64_t length, bool last) {
    FrameHeader header;
    header.length = length;
    header.fin = last;
    header.opcode = sending_begun_ ? Opcode::continuation : sending_;
    header.rsv1 = sending_compressed_ && !sending_begun_;
    header.masked = role_ == Role::client;
    if (header.masked) header.mask_key = new_mask_key();
    sending_begun_ = !last;
    if (last) sending_ = Opcode::continuation;
    return header;
}

// Puts the header in front of `payload` and masks it if that is our role.
std::span<uint8_t> Connection::frame_in_place(std::span<uint8_t> payload, bool last) {
    const FrameHeader header = next_header(payload.size(), last);
    uint8_t* start = payload.data() - header_size(header);
    write_header(header, start);
    if (header.masked) apply_mask(payload, header.mask_key);
    return {start, payload.data() + payload.size()};
}

Sent Connection::send(Opcode opcode, std::span<uint8_t> payload, bool last) {
    const SendStatus status = check_message(opcode, false);
    if (status != SendStatus::ok) return {status, {}};
    sending_ = opcode;
    sending_compressed_ = false;
    return {SendStatus::ok, frame_in_place(payload, last)};
}

Sent Connection::send_header(Opcode opcode, uint64_t length, bool last,
                             std::span<uint8_t, max_header_size> out) {
    const SendStatus status = check_message(opcode, false);
    if (status != SendStatus::ok) return {status, {}};
    sending_ = opcode;
    sending_compressed_ = false;
    return {SendStatus::ok, out.first(write_header(next_header(length, last), out.data()))};
}

Sent Connection::send_compressed(Opcode opcode, std::span<const uint8_t>& input, bool last,
                                 std::span<uint8_t> out) {
    if (!deflate_) return {SendStatus::not_negotiated, {}};
    const SendStatus status = check_message(opcode, true);
    if (status != SendStatus::ok) return {status, {}};
    if (out.size() < min_compress_space) return {SendStatus::no_space, {}};
    const auto body = out.subspan(headroom);
    const auto [outcome, produced] = deflate_->compress(input, last, body);
    using Status = DeflateProgress::Status;
    if (outcome == Status::no_memory) return {SendStatus::no_memory, {}};
    sending_ = opcode;
    sending_compressed_ = true;
    Sent sent{outcome == Status::need_output ? SendStatus::need_output : SendStatus::ok, {}};
    if (produced > 0 || outcome == Status::done)
        sent.bytes = frame_in_place(body.first(produced), outcome == Status::done);
    return sent;
}

Sent Connection::send_control(Opcode opcode, std::span<const uint8_t> payload,
                              std::span<uint8_t> out) {
    if (!may_send(state_)) return {SendStatus::closing, {}};
    if (payload.size() > max_control_payload) return {SendStatus::control_too_long, {}};
    const size_t size = write_control(opcode, payload, out);
    return size == 0 ? Sent{SendStatus::no_space, {}} : Sent{SendStatus::ok, out.first(size)};
}

// Writes a control frame and returns its size, or 0 if there is no room for it.
size_t Connection::write_control(Opcode opcode, std::span<const uint8_t> payload,
                                 std::span<uint8_t> out) const {
    FrameHeader header{.length = payload.size(), .opcode = opcode};
    header.masked = role_ == Role::client;
    if (header.masked) header.mask_key = new_mask_key();
    if (out.size() < header_size(header) + payload.size()) return 0;
    const auto body = out.subspan(write_header(header, out.data()), payload.size());
    std::copy(payload.begin(), payload.end(), body.begin());
    if (header.masked) apply_mask(body, header.mask_key);
    return body.data() + body.size() - out.data();
}

Sent Connection::send_ping(std::span<const uint8_t> payload, std::span<uint8_t> out) {
    return send_control(Opcode::ping, payload, out);
}

Sent Connection::send_pong(std::span<const uint8_t> payload, std::span<uint8_t> out) {
    return send_control(Opcode::pong, payload, out);
}

Sent Connection::send_close(uint16_t code, std::string_view reason, std::span<uint8_t> out) {
    if (code == close_code::none ? !reason.empty() : !valid_on_wire(code))
        return {SendStatus::bad_close_code, {}};
    if (reason.size() > max_close_reason) return {SendStatus::control_too_long, {}};
    if (!valid_utf8(as_bytes(reason))) return {SendStatus::bad_utf8, {}};
    const Sent sent = send_control(Opcode::close, ClosePayload(code, reason), out);
    if (sent.status == SendStatus::ok) {
        state_ = after(state_, CloseStep::send_close);
        close_waiting_ = pong_waiting_ = false;
    }
    return sent;
}

size_t Connection::take_pending(std::span<uint8_t> out) {
    size_t written = 0;
    if (pong_waiting_) {
        written = write_control(Opcode::pong, {control_, pong_size_}, out);
        if (written == 0) return 0;
        pong_waiting_ = false;
    }
    if (close_waiting_) {
        const ClosePayload payload(close_code_, failure_);
        const size_t size = write_control(Opcode::close, payload, out.subspan(written));
        if (size == 0) return written;
        close_waiting_ = false;
        state_ = after(state_, CloseStep::send_close);
        written += size;
    }
    return written;
}

}  // namespace ws
