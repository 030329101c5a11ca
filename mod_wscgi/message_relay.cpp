// SPDX-License-Identifier: BSD-3-Clause
// The relay for all framings in which lighttpd speaks WebSocket.
//
// A client's Close is not answered at once: its program first sees the end of its input, and what
// it still writes is delivered (RFC 6455 5.5.1 allows it), so that a message followed at once by
// Close is answered like any other.
#include "mod_wscgi/message_relay.h"

#include <algorithm>
#include <array>

namespace wscgi {
namespace {

// Pieces for one writev(2); more would have to be written in several calls anyway.
constexpr size_t gathered_enough = 256;

// Shorter messages grow when they are compressed.
constexpr size_t worth_compressing = 64;

// One thread: what is needed only inside a call is shared by all.
std::array<uint8_t, 16 * 1024> inflate_space;
std::array<uint8_t, 16 * 1024> deflate_space;

using ws::CloseState;
using ws::EventType;

std::unique_ptr<ws::PerMessageDeflate> make_deflate(const MessageRelayOptions& options,
                                                    ws::DeflatePool* pool) {
    if (!options.deflate) return nullptr;
    return std::make_unique<ws::PerMessageDeflate>(ws::Role::server, *options.deflate, *pool);
}

}  // namespace

MessageRelay::MessageRelay(std::unique_ptr<MessageFraming> framing,
                           const MessageRelayOptions& options, ClientOutput& output,
                           ws::DeflatePool* pool, int64_t now)
    : framing_(std::move(framing)),
      options_(options),
      output_(output),
      deflate_(make_deflate(options, pool)),
      connection_(ws::Role::server, options.limits, deflate_.get()),
      now_(now),
      began_(now),
      heard_(now),
      active_(now),
      allowed_(options.message_burst) {}

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

// ---- Client to program

void MessageRelay::excuse_silence(int64_t now) {
    if (pinged_) pinged_ = now;
}

bool MessageRelay::from_client(std::span<uint8_t>& bytes, Gathered& gathered) {
    heard_ = now_;
    pinged_ = 0;
    while (gathered.pieces().size() < gathered_enough && !input_held()) {
        const ws::Event event = connection_.receive(bytes, inflate_space);
        switch (event.type) {
            case EventType::need_input:
            case EventType::closed:
                return false;
            case EventType::message:
                message(event, gathered);
                // The next piece will be inflated to the same place.
                if (deflate_) return true;
                break;
            case EventType::close:
                closed_by_client(event, gathered);
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
    return !input_held();
}

// Once nobody is there to read its messages, a client is heard until it closes.
bool MessageRelay::input_held() const {
    return options_.message_rate && !allowed_ && !closing_ && !program_ended_;
}

void MessageRelay::allow_messages(int64_t seconds) {
    const int64_t more = seconds * options_.message_rate;
    allowed_ = static_cast<uint32_t>(std::min<int64_t>(options_.message_burst, allowed_ + more));
}

void MessageRelay::message(const ws::Event& piece, Gathered& gathered) {
    if (program_ended_ || closing_) return;  // nobody is there to read it
    active_ = now_;
    messages_in_ += piece.last;
    if (allowed_) allowed_ -= piece.last;
    const Refusal refusal = framing_->to_program(piece, gathered);
    if (refusal.code) shut_down(refusal.code, refusal.reason);
}

void MessageRelay::closed_by_client(const ws::Event& close, Gathered& gathered) {
    set_outcome("closed by the client with " + std::to_string(close.code));
    if (connection_.state() == CloseState::closed)
        append_pending();
    else if (!program_ended_)
        framing_->close_to_program(close.code, close.reason, gathered);
}

void MessageRelay::client_ended() {
    client_ended_ = true;
    set_outcome("client went away without a Close");
}

// ---- Program to client

void MessageRelay::from_program(std::span<uint8_t>& bytes, bool end, bool full) {
    while (output_wanted()) {
        const Piece piece = framing_->from_program(bytes, end, full);
        if (piece.kind == Piece::Kind::none) return;
        deliver(piece);
        full = false;
    }
    bytes = {};
}

void MessageRelay::deliver(const Piece& piece) {
    const auto text = [&] {
        return std::string_view(reinterpret_cast<const char*>(piece.payload.data()),
                                piece.payload.size());
    };
    switch (piece.kind) {
        case Piece::Kind::message:
            send_message(piece);
            break;
        case Piece::Kind::close:
            shut_down(piece.code, text());
            break;
        case Piece::Kind::ping:
            send_ping(piece.payload);
            break;
        case Piece::Kind::invalid:
            shut_down(ws::close_code::internal_error, piece.reason);
            break;
        case Piece::Kind::none:
            break;
    }
}

void MessageRelay::send_message(const Piece& piece) {
    if (!output_wanted()) return;
    if (piece.opcode == ws::Opcode::text) {
        const bool valid = program_text_.check(piece.payload) == piece.payload.size();
        if (!valid || (piece.last && !program_text_.complete())) {
            shut_down(ws::close_code::internal_error, "program wrote text that is not UTF-8");
            return;
        }
    }
    active_ = now_;
    messages_out_ += piece.last;
    if (!connection_.sending_message() && !compressing_)
        compressing_ = deflate_ && piece.payload.size() >= worth_compressing;
    if (compressing_) return send_compressed(piece);

    std::array<uint8_t, ws::max_header_size> header;
    const ws::Sent sent =
        connection_.send_header(piece.opcode, piece.payload.size(), piece.last, header);
    if (sent.status != ws::SendStatus::ok) {
        shut_down(ws::close_code::internal_error, ws::describe(sent.status));
        return;
    }
    output_.append(sent.bytes);
    output_.append(piece.payload);
}

void MessageRelay::send_compressed(const Piece& piece) {
    std::span<const uint8_t> rest = piece.payload;
    for (;;) {
        const ws::Sent sent =
            connection_.send_compressed(piece.opcode, rest, piece.last, deflate_space);
        output_.append_copy(sent.bytes);
        if (sent.status == ws::SendStatus::need_output) continue;
        if (sent.status != ws::SendStatus::ok)
            shut_down(ws::close_code::internal_error, ws::describe(sent.status));
        break;
    }
    if (piece.last) compressing_ = false;
}

void MessageRelay::send_ping(std::span<const uint8_t> payload) {
    std::array<uint8_t, ws::max_control_frame> frame;
    output_.append(connection_.send_ping(payload, frame).bytes);
}

// ---- The end

void MessageRelay::program_ended(ProgramEnd end) {
    program_ended_ = true;
    const std::string number = std::to_string(end.number);
    if (connection_.state() == CloseState::close_received) {
        append_pending();
        return;
    }
    switch (end.kind) {
        case ProgramEnd::Kind::exited: {
            const uint16_t code = close_code_of(end.number);
            const bool well = code == ws::close_code::normal;
            shut_down(code, well ? "" : "program exited with status " + number);
            break;
        }
        case ProgramEnd::Kind::killed:
            shut_down(ws::close_code::internal_error, "program was killed by signal " + number);
            break;
        case ProgramEnd::Kind::overdue:
            shut_down(ws::close_code::internal_error,
                      "program closed its output, but did not exit");
            break;
        case ProgramEnd::Kind::lost:
            shut_down(ws::close_code::internal_error, "connection to the daemon was lost");
            break;
    }
}

uint16_t MessageRelay::close_code_of(int exit_status) const {
    for (const CloseCode& one : options_.close_codes)
        if (one.status == exit_status) return one.code;
    return exit_status == 0 ? ws::close_code::normal : ws::close_code::internal_error;
}

void MessageRelay::shut_down(uint16_t code, std::string_view reason) {
    std::array<uint8_t, ws::max_control_frame> frame;
    const ws::Sent sent = connection_.send_close(code, reason, frame);
    // A reason that cannot be sent must not keep the session open.
    if (sent.status == ws::SendStatus::control_too_long || sent.status == ws::SendStatus::bad_utf8)
        return shut_down(code, {});
    if (sent.status != ws::SendStatus::ok) return;
    set_outcome("closed with " + std::to_string(code) + (reason.empty() ? "" : ": ") +
                std::string(reason));
    output_.append(sent.bytes);
    closing_ = now_;
}

// What begins between two ticks bears the time of the first, and may be almost a second younger.
void MessageRelay::tick(int64_t now) {
    allow_messages(now - now_);
    now_ = now;
    if (closing_) {
        overdue_ = overdue_ || now - closing_ > options_.close_timeout;
    } else if (options_.max_age && now - began_ >= options_.max_age) {
        shut_down(ws::close_code::going_away, "the session has reached its age limit");
    } else if (options_.idle_timeout && now - active_ > options_.idle_timeout) {
        shut_down(ws::close_code::going_away, "idle");
    } else if (pinged_) {
        if (now - pinged_ < options_.pong_timeout) return;
        set_outcome("client did not answer a ping");
        shut_down(ws::close_code::going_away, "no answer to a ping");
        overdue_ = true;
    } else if (options_.ping_interval && now - heard_ >= options_.ping_interval &&
               connection_.state() == CloseState::open) {
        send_ping({});
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
