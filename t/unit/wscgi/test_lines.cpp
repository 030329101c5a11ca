// SPDX-License-Identifier: BSD-3-Clause
// The framing "lines": lines become messages whatever way they are cut, and messages lines.
#include <string>
#include <vector>

#include "mod_wscgi/lines.h"

#include "t/unit/suite.h"  // last

using wscgi::Gathered;
using wscgi::Lines;
using wscgi::MessageType;

namespace {

// What a session does: keeps what could not be framed, and adds to it what is read.
class Reader {
  public:
    explicit Reader(Lines& lines) : lines_(lines) {}

    void read(std::string_view bytes, bool end = false, bool full = false) {
        kept_.insert(kept_.end(), bytes.begin(), bytes.end());
        std::span<uint8_t> rest(kept_);
        for (;;) {
            const wscgi::Piece piece = lines_.from_program(rest, end, full);
            if (piece.kind == wscgi::Piece::Kind::none) break;
            message_.append(piece.payload.begin(), piece.payload.end());
            full = false;
            if (!piece.last) continue;
            messages.push_back(message_);
            message_.clear();
        }
        kept_ = std::vector<uint8_t>(rest.begin(), rest.end());
    }

    std::vector<std::string> messages;

  private:
    Lines& lines_;
    std::vector<uint8_t> kept_;
    std::string message_;
};

const std::vector<std::string> expected = {"one", "", "two\rtwo", "three", "no end"};
constexpr std::string_view input = "one\n\ntwo\rtwo\r\nthree\nno end";

}  // namespace

START_TEST(lines_cut_anywhere_make_the_same_messages) {
    for (size_t i = 0; i <= input.size(); ++i) {
        for (size_t j = i; j <= input.size(); ++j) {
            Lines lines(MessageType::text);
            Reader reader(lines);
            reader.read(input.substr(0, i));
            reader.read(input.substr(i, j - i));
            reader.read(input.substr(j), true);
            ck_assert(reader.messages == expected);
        }
    }
}
END_TEST

START_TEST(a_line_that_cannot_be_kept_goes_in_pieces) {
    for (size_t i = 1; i <= input.size(); ++i) {
        Lines lines(MessageType::text);
        Reader reader(lines);
        reader.read(input.substr(0, i), false, true);
        reader.read(input.substr(i), true);
        ck_assert(reader.messages == expected);
    }
}
END_TEST

START_TEST(output_that_ends_with_a_newline_has_no_empty_last_message) {
    Lines lines(MessageType::text);
    Reader reader(lines);
    reader.read("one\n");
    reader.read("", true);
    ck_assert(reader.messages == std::vector<std::string>{"one"});
}
END_TEST

START_TEST(a_message_is_a_line_however_many_pieces_it_has) {
    Lines lines(MessageType::text);
    Gathered gathered;
    std::string first = "he", second = "llo";
    ws::Event event;
    event.type = ws::EventType::message;
    event.opcode = ws::Opcode::text;
    event.payload = {reinterpret_cast<uint8_t*>(first.data()), first.size()};
    ck_assert_uint_eq(lines.to_program(event, gathered).code, 0);
    event.payload = {reinterpret_cast<uint8_t*>(second.data()), second.size()};
    event.last = true;
    ck_assert_uint_eq(lines.to_program(event, gathered).code, 0);

    std::string written;
    for (const auto piece : gathered.pieces()) written.append(piece.begin(), piece.end());
    ck_assert(written == "hello\n");
}
END_TEST

START_TEST(binary_messages_are_refused_unless_configured) {
    ws::Event event;
    event.type = ws::EventType::message;
    event.opcode = ws::Opcode::binary;
    Gathered gathered;
    ck_assert_uint_eq(Lines(MessageType::text).to_program(event, gathered).code, 1003);
    ck_assert_uint_eq(Lines(MessageType::binary).to_program(event, gathered).code, 0);
}
END_TEST

int main() {
    return run_suite("lines", {lines_cut_anywhere_make_the_same_messages,
                               a_line_that_cannot_be_kept_goes_in_pieces,
                               output_that_ends_with_a_newline_has_no_empty_last_message,
                               a_message_is_a_line_however_many_pieces_it_has,
                               binary_messages_are_refused_unless_configured});
}
