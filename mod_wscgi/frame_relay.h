// SPDX-License-Identifier: BSD-3-Clause
// The relay for the framing "websocket": the program speaks the frames itself, and bytes pass
// unseen in both directions. What bounds a session is how long it lasts, and how long it is silent.
#pragma once

#include "mod_wscgi/relay.h"

namespace wscgi {

struct FrameRelayOptions {
    uint32_t idle_timeout = 0;  // seconds without a byte until the session is ended; 0: never
    uint32_t max_age = 0;       // seconds until the session is ended; 0: never
};

class FrameRelay : public Relay {
  public:
    FrameRelay(const FrameRelayOptions& options, ClientOutput& output, int64_t now)
        : output_(output), options_(options), now_(now), began_(now), active_(now) {}

    bool from_client(std::span<uint8_t>& bytes, Gathered& gathered) override {
        active_ = now_;
        if (!program_ended_ && !bytes.empty()) gathered.add(bytes);
        bytes = {};
        return false;
    }
    void deliver(const Piece&) override {}
    void client_ended() override { shut_down(0, "ended by the client"); }
    void from_program(std::span<uint8_t>& bytes, bool, bool) override {
        if (!bytes.empty()) active_ = now_;
        output_.append(bytes);
        bytes = {};
    }
    void program_ended(ProgramEnd end) override {
        program_ended_ = true;
        if (client_ended_) return;  // it was told to end
        if (end.kind != ProgramEnd::Kind::exited || end.number != 0) outcome_ = "program failed";
    }
    // A Close in the middle of one of the program's frames would be taken for its payload: the
    // program is ended instead, and may say farewell.
    void shut_down(uint16_t, std::string_view reason) override {
        if (!client_ended_) outcome_ = reason;
        client_ended_ = true;
    }
    void tick(int64_t now) override {
        now_ = now;
        if (options_.max_age && now - began_ >= options_.max_age)
            shut_down(0, "the session has reached its age limit");
        else if (options_.idle_timeout && now - active_ > options_.idle_timeout)
            shut_down(0, "idle");
    }
    bool input_ended() const override { return client_ended_; }
    bool output_wanted() const override { return true; }
    bool finished() const override { return program_ended_; }
    std::string_view outcome() const override { return outcome_; }

  private:
    ClientOutput& output_;
    const FrameRelayOptions options_;
    int64_t now_;
    const int64_t began_;
    int64_t active_;  // when the last bytes passed
    bool client_ended_ = false;
    bool program_ended_ = false;
    std::string_view outcome_ = "ended by the program";  // of static text
};

}  // namespace wscgi
