// SPDX-License-Identifier: BSD-3-Clause
// The framing "stream".
#include "mod_wscgi/stream.h"

namespace wscgi {
namespace {

// Bytes at the end that begin a UTF-8 character and lack its rest.
size_t begun_character(std::span<const uint8_t> text) {
    for (size_t back = 1; back <= 3 && back <= text.size(); ++back) {
        const uint8_t byte = text[text.size() - back];
        if ((byte & 0xC0) == 0x80) continue;  // a continuation byte: its beginning is before it
        const size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
        return length > back ? back : 0;
    }
    return 0;
}

}  // namespace

Refusal Stream::to_program(const ws::Event& piece, Gathered& gathered) {
    if (!piece.payload.empty()) gathered.add(piece.payload);
    return {};
}

Piece Stream::from_program(std::span<uint8_t>& bytes, bool end, bool) {
    Piece piece;
    piece.opcode = type_ == MessageType::text ? ws::Opcode::text : ws::Opcode::binary;
    size_t size = bytes.size();
    if (type_ == MessageType::text && !end) size -= begun_character(bytes);
    if (size == 0) return piece;
    piece.kind = Piece::Kind::message;
    piece.last = true;
    piece.payload = bytes.first(size);
    bytes = bytes.subspan(size);
    return piece;
}

}  // namespace wscgi
