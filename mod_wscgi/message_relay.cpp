// SPDX-License-Identifier: BSD-3-Clause
// The relay for all framings in which lighttpd speaks WebSocket.
//
// A client's Close is not answered at once: its program first sees the end of its input, and what
// it still writes is delivered (RFC 6455 5.5.1 allows it), so that a message followed at once by
// Close is answered like any other.
#include "mod_wscgi/message_relay.h"

#include <array>

namespace wscgi {
namespace {

// Pieces for one writev(2); more would have to be written in several calls anyway.
constexpr size_t gathered_enough = 256;

using ws::CloseState;
using ws::EventType;

}  // namespace

MessageRelay::MessageRelay(std::unique_ptr<MessageFraming> framing,
                           const MessageRelayOptions& options, ClientOutput& output, int64_t now)
    : framing_(std::move(framing)),
      options_(options),
      output_(output),
      connection_(ws::Role::server, options.limits),
      now_(now),
      heard_(now) {}

void MessageRelay::append_pending() {
    std::array<uint8_t, 2 * ws::max_control_frame> frames;
    while (connection_.pending()) {
        const size_t size = connection_.take_pending(frames);
        output_.append(std::span(frames).first(size));
    }
}

void MessageRelay::set_outcome(std::string_view text) {
    if (outcome_.empty()) outcome_ = text;
}

void MessageRelay::from_client(std::span<uint8_t>& bytes, Gathered& gathered) {
    heard_ = now_;
    pinged_ = 0;
    while (gathered.size() < gathered_enough) {
        const ws::Event event = connection_.receive(bytes);
        switch (event.type) {
            case EventType::need_input:
            case EventType::closed:
                return;
            case EventType::message:
                message(event, gathered);
                break;
            case EventType::close:
                set_outcome("closed by the client with " + std::to_string(event.code));
                if (connection_.state() == CloseState::closed) append_pending();
                break;
            case EventType::error:
                set_outcome("client broke a rule: " + std::string(event.reason));
                append_pending();
                break;
            case EventType::ping:
            case EventType::need_output:
                append_pending();
                break;
            case EventType::pong:
                break;
        }
    }
}

void MessageRelay::message(const ws::Event& piece, Gathered& gathered) {
    if (program_ended_ || closing_) return;  // nobody is there to read it
    const Refusal refusal = framing_->to_program(piece, gathered);
    if (refusal.code) shut_down(refusal.code, refusal.reason);
}

void MessageRelay::client_ended() {
    client_ended_ = true;
    set_outcome("client went away without a Close");
}

void MessageRelay::send(const Piece& piece) {
    std::array<uint8_t, ws::max_header_size> header;
    if (piece.opcode == ws::Opcode::text) {
        const bool valid = program_text_.check(piece.payload) == piece.payload.size();
        if (!valid || (piece.last && !program_text_.complete())) {
            shut_down(ws::close_code::internal_error, "program wrote text that is not UTF-8");
            return;
        }
    }
    const ws::Sent sent =
        connection_.send_header(piece.opcode, piece.payload.size(), piece.last, header);
    if (sent.status != ws::SendStatus::ok) return;  // our Close is out: too late
    output_.append(sent.bytes);
    output_.append(piece.payload);
}

void MessageRelay::from_program(std::span<uint8_t>& bytes, bool end, bool full) {
    while (output_wanted()) {
        const Piece piece = framing_->from_program(bytes, end, full);
        if (!piece.present) return;
        send(piece);
        full = false;
    }
    bytes = {};
}

void MessageRelay::program_ended(ProgramEnd end) {
    program_ended_ = true;
    const std::string number = std::to_string(end.number);
    if (connection_.state() == CloseState::close_received) {
        append_pending();
    } else if (end.kind == ProgramEnd::Kind::exited && end.number == 0) {
        shut_down(ws::close_code::normal, "");
    } else if (end.kind == ProgramEnd::Kind::exited) {
        shut_down(ws::close_code::internal_error, "program exited with status " + number);
    } else if (end.kind == ProgramEnd::Kind::killed) {
        shut_down(ws::close_code::internal_error, "program was killed by signal " + number);
    } else {
        shut_down(ws::close_code::internal_error, "program closed its output, but did not exit");
    }
}

void MessageRelay::shut_down(uint16_t code, std::string_view reason) {
    std::array<uint8_t, ws::max_control_frame> frame;
    const ws::Sent sent = connection_.send_close(code, reason, frame);
    if (sent.status != ws::SendStatus::ok) return;
    set_outcome("closed with " + std::to_string(code) + (reason.empty() ? "" : ": ") +
                std::string(reason));
    output_.append(sent.bytes);
    closing_ = now_;
}

void MessageRelay::tick(int64_t now) {
    now_ = now;
    if (closing_) {
        overdue_ = overdue_ || now - closing_ >= options_.close_timeout;
    } else if (pinged_) {
        if (now - pinged_ < options_.pong_timeout) return;
        set_outcome("client did not answer a ping");
        shut_down(ws::close_code::going_away, "no answer to a ping");
        overdue_ = true;
    } else if (options_.ping_interval && now - heard_ >= options_.ping_interval &&
               connection_.state() == CloseState::open) {
        std::array<uint8_t, ws::max_control_frame> frame;
        output_.append(connection_.send_ping({}, frame).bytes);
        pinged_ = now;
    }
}

bool MessageRelay::input_ended() const {
    return client_ended_ || connection_.state() != CloseState::open;
}

bool MessageRelay::output_wanted() const { return ws::may_send(connection_.state()); }

bool MessageRelay::finished() const {
    return connection_.state() == CloseState::closed || overdue_ ||
           (client_ended_ && (program_ended_ || !output_wanted()));
}

}  // namespace wscgi
