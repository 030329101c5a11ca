// SPDX-License-Identifier: BSD-3-Clause
// The relay for all framings in which lighttpd speaks WebSocket and the program something simpler.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "mod_wscgi/endpoint.h"
#include "mod_wscgi/relay.h"
#include "ws/connection.h"
#include "ws/deflate.h"

namespace wscgi {

struct MessageRelayOptions {
    ws::Limits limits;
    uint32_t ping_interval =
        30;                      // seconds without a sign of the client until it is asked; 0: never
    uint32_t pong_timeout = 20;  // seconds until an unanswered ping ends the session
    uint32_t close_timeout = 5;  // seconds until a Close that was not answered ends the session
    uint32_t idle_timeout = 0;   // seconds without a message until the session is closed; 0: never
    uint32_t max_age = 0;        // seconds until the session is closed; 0: never
    uint32_t message_rate = 0;   // of the client, in a second, in the long run; 0: any
    uint32_t message_burst = 0;  // of the client, at once
    std::span<const CloseCode> close_codes;        // for exit statuses; must outlive the relay
    std::optional<ws::DeflateParameters> deflate;  // agreed with the client
};

class MessageRelay : public Relay {
  public:
    // `output` and `pool`, which is used only with deflate, must outlive the relay. `now` in
    // seconds, as in tick().
    MessageRelay(std::unique_ptr<MessageFraming> framing, const MessageRelayOptions& options,
                 ClientOutput& output, ws::DeflatePool* pool, int64_t now);

    bool from_client(std::span<uint8_t>& bytes, Gathered& gathered) override;
    bool input_held() const override;
    void client_ended() override;
    void from_program(std::span<uint8_t>& bytes, bool end, bool full) override;
    void deliver(const Piece& piece) override;
    void program_ended(ProgramEnd end) override;
    void shut_down(uint16_t code, std::string_view reason) override;
    void excuse_silence(int64_t now) override;
    void tick(int64_t now) override;
    bool input_ended() const override;
    bool output_wanted() const override;
    bool finished() const override;
    std::string_view outcome() const override { return outcome_; }

  private:
    void message(const ws::Event& piece, Gathered& gathered);
    void closed_by_client(const ws::Event& close, Gathered& gathered);
    void send_message(const Piece& piece);
    void send_compressed(const Piece& piece);
    void send_ping(std::span<const uint8_t> payload);
    void append_pending();
    void set_outcome(std::string_view text);
    uint16_t close_code_of(int exit_status) const;
    void allow_messages(int64_t seconds);

    std::unique_ptr<MessageFraming> framing_;
    MessageRelayOptions options_;
    ClientOutput& output_;
    std::unique_ptr<ws::PerMessageDeflate> deflate_;
    ws::Connection connection_;
    ws::Utf8Validator program_text_;
    int64_t now_;
    int64_t began_;
    int64_t heard_;             // when the client's last bytes came
    int64_t active_;            // when the last message passed
    int64_t pinged_ = 0;        // when it was asked whether it lives, and has not answered yet
    int64_t closing_ = 0;       // when we sent our Close
    uint32_t allowed_;          // messages of the client until the next second begins
    bool compressing_ = false;  // the message that is being sent
    bool client_ended_ = false;
    bool program_ended_ = false;
    bool overdue_ = false;  // the client does not answer our ping or Close
    std::string outcome_;
};

}  // namespace wscgi
