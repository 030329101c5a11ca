// SPDX-License-Identifier: BSD-3-Clause
// The message layer: bytes in, events out; messages in, bytes out (RFC 6455 sections 5 to 8). A
// Connection owns no socket, no buffer and no thread, makes no system call and allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "ws/close.h"
#include "ws/frame.h"
#include "ws/utf8.h"

namespace ws {

class PerMessageDeflate;

constexpr size_t max_close_reason = max_control_payload - 2;

/// What a peer may make us process. Each ends in close code 1009.
struct Limits {
    uint64_t max_message = 16 * 1024 * 1024;  ///< bytes of one message, after inflation
    uint64_t max_frame = UINT64_MAX;          ///< bytes of one frame's payload, as transmitted
    uint32_t max_fragments = 65536;           ///< frames of one message, empty ones included
};

enum class EventType : uint8_t {
    need_input,   ///< all of `input` was taken and nothing is left to report
    need_output,  ///< stopped until take_pending() was called, or until there is inflate space
    message,      ///< a piece of a message: opcode, first, last, payload
    ping,         ///< payload; the pong is already prepared: see take_pending()
    pong,         ///< payload
    close,        ///< the peer's Close: code (1005 if it had none), reason
    error,        ///< the peer broke a rule: code (1002, 1007, 1009 or 1011), reason. Reported once
    closed,       ///< nothing more will be reported; all of `input` was discarded
};

/// What happened, as a plain value. `payload` and a Close's `reason` point into the caller's input
/// (or inflate space, or, for a control frame that arrived in pieces, into the Connection) and are
/// valid until the next call of receive() or until the caller reuses that memory.
struct Event {
    EventType type = EventType::need_input;
    Opcode opcode = Opcode::continuation;  ///< message: text or binary
    bool first = false;                    ///< message: its first piece
    bool last = false;                     ///< message: its last piece; the payload may be empty
    uint16_t code = 0;                     ///< close, error
    std::span<uint8_t> payload;            ///< message, ping, pong
    std::string_view reason;               ///< close: UTF-8, checked; error: a sentence for people
};

enum class SendStatus : uint8_t {
    ok,
    need_output,        ///< send_compressed(): `out` is full; send the bytes, then call again
    closing,            ///< our Close is out (or the connection failed): nothing may follow it
    wrong_opcode,       ///< text and binary are messages; a fragment must have its message's opcode
    wrong_compression,  ///< a message goes whole by send() or whole by send_compressed()
    control_too_long,   ///< more than 125 bytes of ping or pong, or max_close_reason of reason
    bad_close_code,     ///< may not stand in a Close frame, or a reason without a code
    bad_utf8,           ///< the reason of a Close is not UTF-8
    no_space,           ///< `out` is smaller than the contract asks for; nothing was done
    not_negotiated,     ///< send_compressed() without permessage-deflate
    no_memory,  ///< no compressor to be had; the message can be sent by send(), if not begun
};

/// One sentence for people.
const char* describe(SendStatus status);

/// What a sending function did. `bytes` are to be transmitted before anything else is sent.
struct Sent {
    SendStatus status = SendStatus::ok;
    std::span<uint8_t> bytes;
};

/// One end of a WebSocket connection after the handshake.
class Connection {
  public:
    /// Where a client's masking keys come from: 32 bits nobody can predict (RFC 6455 10.3). May be
    /// null for servers, and for clients that never send.
    using MaskKeySource = uint32_t (*)();

    /// `deflate`, if permessage-deflate was agreed, must outlive the connection.
    explicit Connection(Role role, const Limits& limits = {}, PerMessageDeflate* deflate = nullptr,
                        MaskKeySource mask_keys = nullptr);
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    // ---- Receiving

    /// Takes bytes from the front of `input`, which shrinks by what was taken, and returns the
    /// first thing they amount to. The bytes are unmasked in place. Call until need_input,
    /// need_output or closed. Bytes that were not taken must come first in the next call's input.
    ///
    /// Messages are never gathered: a piece is reported as soon as its bytes are there, so that a
    /// small message in one frame is one event (first and last) and a large one is as many as the
    /// input had pieces. A piece is reported only with bytes in it or with `last`. Text is reported
    /// only as far as it is valid UTF-8. Frame boundaries inside a message are not reported.
    ///
    /// `inflate_space` is where a compressed message's pieces are put, one per call; at least one
    /// byte, 4 KiB or more for speed. It is not looked at unless permessage-deflate was agreed.
    Event receive(std::span<uint8_t>& input, std::span<uint8_t> inflate_space = {});

    /// Whether the protocol wants something sent: a pong, the answer to a Close, the Close after an
    /// error.
    bool pending() const { return pong_waiting_ || close_waiting_; }

    /// Writes the waiting control frames to `out`, as many as fit whole, and returns their size.
    /// max_control_frame bytes always take the next one. Only the newest ping is answered if the
    /// pong for an older one was not fetched (5.5.3), so a flood of pings makes nothing grow; a
    /// caller whose output queue is full simply does not fetch.
    ///
    /// After EventType::close the answer waits here. Until it is fetched messages may still be sent
    /// (5.5.1: an endpoint may finish what it is sending); fetching it ends sending.
    size_t take_pending(std::span<uint8_t> out);

    // ---- Sending

    /// Bytes that must be writable in front of a payload given to send().
    static constexpr size_t headroom = max_header_size;

    /// Sends a message, or a fragment of one if its length is not known yet: the calls up to the
    /// one with `last` make one message, all with the same `opcode` (text or binary). The frame
    /// header is written into the headroom in front of `payload`, and a client's payload is masked
    /// in place: `bytes` is header and payload in one. That text is UTF-8 is the caller's promise;
    /// Utf8Validator checks it.
    Sent send(Opcode opcode, std::span<uint8_t> payload, bool last = true);

    /// As send(), for payloads that are elsewhere (a file, a chunk queue, an iovec): writes only
    /// the header of a frame of `length` bytes to `out`; exactly that many must follow it. A client
    /// must mask them itself with apply_mask() and the last four bytes of the header.
    Sent send_header(Opcode opcode, uint64_t length, bool last,
                     std::span<uint8_t, max_header_size> out);

    /// As send(), compressed (RFC 7692): takes bytes from the front of `input` and makes one frame
    /// of them in `out`, of at least min_compress_space bytes. `need_output`: there is more to
    /// come; transmit `bytes` and call again with what is left of `input` and the same arguments.
    /// `ok`: all was taken; `bytes` may be empty while `last` is false, since the compressor keeps
    /// what it can. The choice to compress is made for each message.
    Sent send_compressed(Opcode opcode, std::span<const uint8_t>& input, bool last,
                         std::span<uint8_t> out);
    static constexpr size_t min_compress_space = 64;

    /// Writes a ping, or a pong nobody asked for, of at most max_control_payload bytes to `out`,
    /// which must have room for it: max_control_frame always suffices.
    Sent send_ping(std::span<const uint8_t> payload, std::span<uint8_t> out);
    Sent send_pong(std::span<const uint8_t> payload, std::span<uint8_t> out);

    /// Writes a Close to `out`, as above. `code` 1005 means without a code; at most
    /// max_close_reason bytes of `reason`, in UTF-8. Starts the closing handshake, or answers the
    /// peer's Close in place of the waiting answer. Messages still arrive until the peer's Close
    /// does.
    Sent send_close(uint16_t code, std::string_view reason, std::span<uint8_t> out);

    CloseState state() const { return state_; }

    /// Whether a message was begun by send() and not ended.
    bool sending_message() const { return sending_ != Opcode::continuation; }

  private:
    // Steps of receiving: true if `event` is to be reported, false to go on.
    bool step(std::span<uint8_t>& input, std::span<uint8_t> inflate_space, Event& event);
    bool receive_short(std::span<uint8_t>& input, Event& event);
    bool begin_frame(Event& event);
    void begin_message(const FrameHeader& header);
    bool receive_data(std::span<uint8_t>& input, Event& event);
    bool receive_compressed(std::span<uint8_t>& input, std::span<uint8_t> space, Event& event);
    bool report_piece(std::span<uint8_t> piece, bool last, Event& event);
    bool receive_control(std::span<uint8_t>& input, Event& event);
    bool report_control(std::span<uint8_t> payload, Event& event);
    bool report_close(std::span<uint8_t> payload, Event& event);
    bool fail_now(uint16_t code, const char* why, Event& event);
    void fail_next(uint16_t code, const char* why);

    SendStatus check_message(Opcode opcode, bool compressed) const;
    FrameHeader next_header(uint64_t length, bool last);
    std::span<uint8_t> frame_in_place(std::span<uint8_t> payload, bool last);
    Sent send_control(Opcode opcode, std::span<const uint8_t> payload, std::span<uint8_t> out);
    size_t write_control(Opcode opcode, std::span<const uint8_t> payload,
                         std::span<uint8_t> out) const;
    MaskKey new_mask_key() const;

    FrameReader frame_;
    Limits limits_;
    PerMessageDeflate* deflate_;
    MaskKeySource mask_keys_;

    // The incoming message.
    uint64_t message_size_ = 0;  // bytes so far, inflated
    uint32_t fragments_ = 0;     // frames so far
    Utf8Validator utf8_;
    Opcode receiving_ = Opcode::continuation;  // continuation: no message in progress
    bool compressed_ = false;
    bool begun_ = false;     // a piece was reported
    bool short_allowed_;     // messages of max_short_payload bytes are within all limits
    bool in_frame_ = false;  // a frame's header was read, its end not yet reached

    // The outgoing message.
    Opcode sending_ = Opcode::continuation;
    bool sending_compressed_ = false;
    bool sending_begun_ = false;  // its first frame is out

    Role role_;
    CloseState state_ = CloseState::open;
    bool failing_ = false;        // the next receive() reports failure_
    bool close_waiting_ = false;  // a Close with close_code_ and failure_ is to be fetched
    uint16_t close_code_ = 0;
    const char* failure_ = "";

    // The payload of the pong that waits, or of a control frame that arrives in pieces.
    bool pong_waiting_ = false;
    uint8_t pong_size_ = 0;
    uint8_t gathered_ = 0;  // bytes there are of a control frame in pieces
    uint8_t control_[max_control_payload];
};

static_assert(sizeof(Connection) <= 256, "what an idle connection costs");

}  // namespace ws
