// SPDX-License-Identifier: BSD-3-Clause
// A framing whose program must get every message in one write: the pieces of a message are
// gathered before another framing sees it. For "packet", and for programs that sessions share.
#pragma once

#include <memory>

#include "mod_wscgi/framing.h"

namespace wscgi {

class WholeMessages : public MessageFraming {
  public:
    explicit WholeMessages(std::unique_ptr<MessageFraming> framing)
        : framing_(std::move(framing)) {}

    // Keeps at most one message; ws::Limits::max_message bounds it.
    Refusal to_program(const ws::Event& piece, Gathered& gathered) override;

    void close_to_program(uint16_t code, std::string_view reason, Gathered& gathered) override {
        framing_->close_to_program(code, reason, gathered);
    }
    Piece from_program(std::span<uint8_t>& bytes, bool end, bool full) override {
        return framing_->from_program(bytes, end, full);
    }

  private:
    std::unique_ptr<MessageFraming> framing_;
    std::vector<uint8_t> message_;
};

}  // namespace wscgi
