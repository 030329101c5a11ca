// SPDX-License-Identifier: BSD-3-Clause
// The framing "length".
#include "mod_wscgi/length.h"

#include <algorithm>

namespace wscgi {
namespace {

constexpr size_t header_size = 5;

std::vector<uint8_t> record(char kind, size_t length) {
    return {static_cast<uint8_t>(kind), static_cast<uint8_t>(length >> 24),
            static_cast<uint8_t>(length >> 16), static_cast<uint8_t>(length >> 8),
            static_cast<uint8_t>(length)};
}

Piece invalid(const char* reason) {
    Piece piece;
    piece.kind = Piece::Kind::invalid;
    piece.reason = reason;
    return piece;
}

Piece cut_off(bool end) { return end ? invalid("program ended inside a record") : Piece(); }

}  // namespace

Refusal Length::to_program(const ws::Event& piece, Gathered& gathered) {
    const char kind = piece.opcode == ws::Opcode::text ? 'T' : 'B';
    gathered.add_own(
        record(piece.last ? kind : static_cast<char>(kind | 0x20), piece.payload.size()));
    if (!piece.payload.empty()) gathered.add(piece.payload);
    return {};
}

void Length::close_to_program(uint16_t code, std::string_view reason, Gathered& gathered) {
    const bool has_code = code != ws::close_code::none;
    std::vector<uint8_t> bytes = record('C', has_code ? 2 + reason.size() : 0);
    if (has_code) {
        bytes.push_back(static_cast<uint8_t>(code >> 8));
        bytes.push_back(static_cast<uint8_t>(code));
        bytes.insert(bytes.end(), reason.begin(), reason.end());
    }
    gathered.add_own(std::move(bytes));
}

Piece Length::from_program(std::span<uint8_t>& bytes, bool end, bool) {
    if (kind_ == 0) return begin_record(bytes, end);
    const bool is_message = (kind_ | 0x20) == 't' || (kind_ | 0x20) == 'b';
    return is_message ? take_message(bytes, end) : take_control(bytes, end);
}

Piece Length::begin_record(std::span<uint8_t>& bytes, bool end) {
    if (bytes.empty()) return {};
    if (std::string_view("TtBbCP").find(static_cast<char>(bytes[0])) == std::string_view::npos)
        return invalid("program wrote a record of unknown kind");
    if (bytes.size() < header_size) return cut_off(end);
    kind_ = bytes[0];
    remaining_ = size_t{bytes[1]} << 24 | size_t{bytes[2]} << 16 | size_t{bytes[3]} << 8 | bytes[4];
    bytes = bytes.subspan(header_size);
    return from_program(bytes, end, false);
}

Piece Length::take_message(std::span<uint8_t>& bytes, bool end) {
    if (bytes.empty() && remaining_ > 0) return cut_off(end);
    const size_t size = std::min(bytes.size(), remaining_);
    remaining_ -= size;
    Piece piece;
    piece.kind = Piece::Kind::message;
    piece.opcode = (kind_ | 0x20) == 't' ? ws::Opcode::text : ws::Opcode::binary;
    piece.payload = bytes.first(size);
    piece.last = remaining_ == 0 && !(kind_ & 0x20);
    bytes = bytes.subspan(size);
    if (remaining_ == 0) kind_ = 0;
    return piece;
}

Piece Length::take_control(std::span<uint8_t>& bytes, bool end) {
    if (remaining_ > ws::max_control_payload || (kind_ == 'C' && remaining_ == 1))
        return invalid("program wrote a close or ping of impossible length");
    if (bytes.size() < remaining_) return cut_off(end);
    Piece piece;
    piece.payload = bytes.first(remaining_);
    bytes = bytes.subspan(remaining_);
    if (kind_ == 'P') {
        piece.kind = Piece::Kind::ping;
    } else {
        piece.kind = Piece::Kind::close;
        piece.code = ws::close_code::none;
        if (!piece.payload.empty()) {
            piece.code = static_cast<uint16_t>(piece.payload[0] << 8 | piece.payload[1]);
            if (!ws::valid_on_wire(piece.code))
                return invalid("program closed with an invalid code");
            piece.payload = piece.payload.subspan(2);
        }
    }
    kind_ = 0;
    return piece;
}

}  // namespace wscgi
