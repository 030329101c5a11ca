// SPDX-License-Identifier: BSD-3-Clause
// The framings "length" and "stream", whole messages, and the SCGI header: cut anywhere, and wrong.
#include <string>
#include <vector>

#include "mod_wscgi/length.h"
#include "mod_wscgi/lines.h"
#include "mod_wscgi/scgi.h"
#include "mod_wscgi/stream.h"
#include "mod_wscgi/whole_messages.h"

#include "t/unit/suite.h"  // last

using wscgi::Gathered;
using wscgi::Piece;

namespace {

// What a program wrote, cut at `cuts`, as a readable log of pieces; those of a message are joined.
std::string log_of(wscgi::MessageFraming& framing, std::string_view input,
                   std::initializer_list<size_t> cuts) {
    std::string log, message;
    std::vector<uint8_t> kept;
    size_t position = 0;
    const auto read = [&](size_t until, bool end) {
        kept.insert(kept.end(), input.begin() + static_cast<ptrdiff_t>(position),
                    input.begin() + static_cast<ptrdiff_t>(until));
        position = until;
        std::span<uint8_t> rest(kept);
        for (;;) {
            const Piece piece = framing.from_program(rest, end, false);
            const std::string payload(piece.payload.begin(), piece.payload.end());
            if (piece.kind == Piece::Kind::none) break;
            if (piece.kind == Piece::Kind::message) {
                message += payload;
                if (!piece.last) continue;
                log += (piece.opcode == ws::Opcode::text ? "text[" : "binary[") + message + "]";
                message.clear();
            } else if (piece.kind == Piece::Kind::close) {
                log += "close " + std::to_string(piece.code) + "[" + payload + "]";
            } else if (piece.kind == Piece::Kind::ping) {
                log += "ping[" + payload + "]";
            } else {
                log += "invalid";
                rest = {};
                break;
            }
        }
        kept = std::vector<uint8_t>(rest.begin(), rest.end());
    };
    for (const size_t cut : cuts) read(cut, false);
    read(input.size(), true);
    return log;
}

ws::Event message(std::string& text, bool first, bool last) {
    ws::Event event;
    event.type = ws::EventType::message;
    event.opcode = ws::Opcode::text;
    event.first = first;
    event.last = last;
    event.payload = {reinterpret_cast<uint8_t*>(text.data()), text.size()};
    return event;
}

std::string text_of(const Gathered& gathered) {
    std::string text;
    for (const auto piece : gathered.pieces()) text.append(piece.begin(), piece.end());
    return text;
}

std::string record(char kind, std::string_view payload) {
    std::string bytes(1, kind);
    for (int shift = 24; shift >= 0; shift -= 8)
        bytes += static_cast<char>(payload.size() >> shift);
    return bytes.append(payload);
}

}  // namespace

START_TEST(length_records_cut_anywhere_make_the_same_messages) {
    const std::string input = record('T', "one") + record('B', "") + record('t', "tw") +
                              record('T', "o") + record('P', "p") +
                              record('C', std::string("\x0f\xa0 bye", 6));
    const std::string expected = "text[one]binary[]text[two]ping[p]close 4000[ bye]";
    for (size_t i = 0; i <= input.size(); ++i) {
        for (size_t j = i; j <= input.size(); ++j) {
            wscgi::Length length;
            ck_assert(log_of(length, input, {i, j}) == expected);
        }
    }
}
END_TEST

START_TEST(what_is_no_length_record_is_invalid) {
    for (const std::string& input :
         {record('X', ""), std::string("T\0\0", 3), record('T', "abc").substr(0, 7),
          record('P', std::string(126, 'x')), record('C', "x"), record('C', "\x03\xed"),
          record('C', std::string(2, '\0'))}) {
        wscgi::Length length;
        ck_assert(log_of(length, input, {}) == "invalid");
    }
}
END_TEST

START_TEST(length_writes_what_it_reads) {
    wscgi::Length writer;
    Gathered gathered;
    std::string first = "he", second = "llo", empty;
    writer.to_program(message(first, true, false), gathered);
    writer.to_program(message(second, false, true), gathered);
    writer.to_program(message(empty, true, true), gathered);
    writer.close_to_program(4001, "done", gathered);
    wscgi::Length reader;
    ck_assert(log_of(reader, text_of(gathered), {}) == "text[hello]text[]close 4001[done]");
}
END_TEST

START_TEST(a_text_stream_is_never_cut_inside_a_character) {
    const std::string input = "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z";
    for (size_t i = 0; i <= input.size(); ++i) {
        wscgi::Stream stream(wscgi::MessageType::text);
        const std::string log = log_of(stream, input, {i});
        ws::Utf8Validator validator;
        std::string joined;
        for (size_t start = 0; (start = log.find("text[", start)) != log.npos; start += 5) {
            const std::string piece = log.substr(start + 5, log.find(']', start) - start - 5);
            const auto* const data = reinterpret_cast<const uint8_t*>(piece.data());
            ck_assert_uint_eq(validator.check({data, piece.size()}), piece.size());
            ck_assert(validator.complete());
            joined += piece;
        }
        ck_assert(joined == input);
    }
}
END_TEST

START_TEST(a_binary_stream_passes_as_it_comes) {
    wscgi::Stream stream(wscgi::MessageType::binary);
    ck_assert(log_of(stream, "ab\xc3", {1, 3}) == "binary[a]binary[b\xc3]");
}
END_TEST

START_TEST(whole_messages_come_in_one_piece) {
    wscgi::WholeMessages framing(std::make_unique<wscgi::Lines>(wscgi::MessageType::text));
    std::string first = "he", second = "llo", third = "once";
    Gathered gathered;
    framing.to_program(message(first, true, false), gathered);
    ck_assert(gathered.empty());
    framing.to_program(message(second, false, true), gathered);
    framing.to_program(message(third, true, true), gathered);
    ck_assert(text_of(gathered) == "hello\nonce\n");
    ck_assert_uint_eq(gathered.pieces()[0].size(), 6);
}
END_TEST

START_TEST(the_scgi_header_is_a_netstring_that_begins_with_the_length_of_the_body) {
    process::Environment environment;
    environment.add("CONTENT_LENGTH", "7");
    environment.add("NAME", "a=b");
    const std::vector<uint8_t> header = wscgi::scgi_header(environment);
    const std::string variables(
        "CONTENT_LENGTH\0"
        "0\0"
        "SCGI\0"
        "1\0"
        "NAME\0"
        "a=b\0",
        33);
    const std::string expected = "33:" + variables + ",";
    ck_assert(std::string(header.begin(), header.end()) == expected);
}
END_TEST

int main() {
    return run_suite(
        "framings",
        {length_records_cut_anywhere_make_the_same_messages, what_is_no_length_record_is_invalid,
         length_writes_what_it_reads, a_text_stream_is_never_cut_inside_a_character,
         a_binary_stream_passes_as_it_comes, whole_messages_come_in_one_piece,
         the_scgi_header_is_a_netstring_that_begins_with_the_length_of_the_body});
}
