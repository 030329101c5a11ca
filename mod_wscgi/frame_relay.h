// SPDX-License-Identifier: BSD-3-Clause
// The relay for the framing "websocket": the program speaks the frames itself, and bytes pass
// unseen in both directions.
#pragma once

#include "mod_wscgi/relay.h"

namespace wscgi {

class FrameRelay : public Relay {
  public:
    explicit FrameRelay(ClientOutput& output) : output_(output) {}

    bool from_client(std::span<uint8_t>& bytes, Gathered& gathered) override {
        if (!program_ended_ && !bytes.empty()) gathered.add(bytes);
        bytes = {};
        return false;
    }
    void deliver(const Piece&) override {}
    void client_ended() override { client_ended_ = true; }
    void from_program(std::span<uint8_t>& bytes, bool, bool) override {
        output_.append(bytes);
        bytes = {};
    }
    void program_ended(ProgramEnd end) override {
        program_ended_ = true;
        if (end.kind != ProgramEnd::Kind::exited || end.number != 0) outcome_ = "program failed";
    }
    // A Close in the middle of one of the program's frames would be taken for its payload: the
    // program is ended instead, and may say farewell.
    void shut_down(uint16_t, std::string_view) override { client_ended_ = true; }
    void tick(int64_t) override {}
    bool input_ended() const override { return client_ended_; }
    bool output_wanted() const override { return true; }
    bool finished() const override { return program_ended_; }
    std::string_view outcome() const override { return outcome_; }

  private:
    ClientOutput& output_;
    bool client_ended_ = false;
    bool program_ended_ = false;
    const char* outcome_ = "ended by the program";
};

}  // namespace wscgi
