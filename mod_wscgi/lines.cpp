// SPDX-License-Identifier: BSD-3-Clause
// The framing "lines".
#include "mod_wscgi/lines.h"

#include <string.h>

namespace wscgi {
namespace {

constexpr uint8_t newline[] = {'\n'};

std::span<uint8_t> without_carriage_return(std::span<uint8_t> line) {
    return !line.empty() && line.back() == '\r' ? line.first(line.size() - 1) : line;
}

}  // namespace

Refusal Lines::to_program(const ws::Event& piece, Gathered& gathered) {
    if (piece.opcode == ws::Opcode::binary && type_ == MessageType::text)
        return {ws::close_code::unsupported_data, "binary messages are not accepted here"};
    if (!piece.payload.empty()) gathered.add(piece.payload);
    if (piece.last) gathered.add(newline);
    return {};
}

Piece Lines::from_program(std::span<uint8_t>& bytes, bool end, bool full) {
    const ws::Opcode opcode = type_ == MessageType::text ? ws::Opcode::text : ws::Opcode::binary;
    const auto take = [&](size_t size, size_t skip, bool last) {
        const std::span<uint8_t> payload = bytes.first(size);
        bytes = bytes.subspan(size + skip);
        searched_ = 0;
        in_message_ = !last;
        Piece piece;
        piece.kind = Piece::Kind::message;
        piece.opcode = opcode;
        piece.last = last;
        piece.payload = last ? without_carriage_return(payload) : payload;
        return piece;
    };

    const size_t unsearched = bytes.size() - searched_;
    const void* const found =
        unsearched ? memchr(bytes.data() + searched_, '\n', unsearched) : nullptr;
    if (found)
        return take(static_cast<size_t>(static_cast<const uint8_t*>(found) - bytes.data()), 1,
                    true);
    searched_ = bytes.size();
    if (end && (in_message_ || !bytes.empty())) return take(bytes.size(), 0, true);
    // A "\r" at the end of a piece may turn out to belong to the line's end: it stays.
    const size_t certain = bytes.size() - (bytes.size() && bytes.back() == '\r' ? 1 : 0);
    if (full && !end && certain) return take(certain, 0, false);
    return {};
}

}  // namespace wscgi
