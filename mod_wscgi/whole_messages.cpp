// SPDX-License-Identifier: BSD-3-Clause
// A framing whose program must get every message in one write.
#include "mod_wscgi/whole_messages.h"

namespace wscgi {

Refusal WholeMessages::to_program(const ws::Event& piece, Gathered& gathered) {
    if (piece.last && message_.empty()) return framing_->to_program(piece, gathered);
    message_.insert(message_.end(), piece.payload.begin(), piece.payload.end());
    if (!piece.last) return {};

    ws::Event whole = piece;
    whole.payload = message_;
    Gathered framed;
    const Refusal refusal = framing_->to_program(whole, framed);
    std::vector<uint8_t> bytes;
    for (const Gathered::Bytes part : framed.pieces())
        bytes.insert(bytes.end(), part.begin(), part.end());
    gathered.add_own(std::move(bytes));
    message_ = {};
    return refusal;
}

}  // namespace wscgi
