// SPDX-License-Identifier: BSD-3-Clause
// The frame layer alone: headers there and back, payloads unmasked in pieces. What is refused is in
// golden/frames.txt.
#include "ws/frame.h"

#include "suite.h"

using ws::FrameHeader;
using ws::FrameReader;
using ws::Opcode;
using ws::Role;

START_TEST(a_header_is_written_in_its_shortest_form_and_read_back) {
    const uint64_t lengths[] = {0, 1, 125, 126, 127, 65535, 65536, uint64_t{1} << 32, INT64_MAX};
    const size_t sizes[] = {2, 2, 2, 4, 4, 4, 10, 10, 10};
    for (const bool masked : {false, true})
        for (size_t i = 0; i < std::size(lengths); i++) {
            FrameHeader header;
            header.length = lengths[i];
            header.opcode = Opcode::binary;
            header.fin = i % 2 == 0;
            header.rsv1 = i % 3 == 0;
            header.masked = masked;
            header.mask_key = {1, 2, 3, 4};
            uint8_t bytes[ws::max_header_size];
            const size_t size = ws::write_header(header, bytes);
            ck_assert_uint_eq(size, sizes[i] + (masked ? 4 : 0));
            ck_assert_uint_eq(size, ws::header_size(header));

            FrameReader reader(masked ? Role::server : Role::client, true);
            std::span<uint8_t> input(bytes, size);
            ck_assert(reader.read_header(input) == FrameReader::Step::header);
            ck_assert(input.empty());
            ck_assert_uint_eq(reader.header().length, header.length);
            ck_assert(reader.header().opcode == header.opcode);
            ck_assert(reader.header().fin == header.fin);
            ck_assert(reader.header().rsv1 == header.rsv1);
            if (masked) ck_assert(reader.header().mask_key == header.mask_key);
        }
}
END_TEST

START_TEST(a_header_can_come_byte_by_byte_and_leaves_the_payload) {
    FrameHeader header;
    header.length = 70000;
    header.opcode = Opcode::text;
    header.masked = true;
    header.mask_key = {9, 8, 7, 6};
    uint8_t bytes[ws::max_header_size + 3];
    const size_t size = ws::write_header(header, bytes);
    FrameReader reader(Role::server, false);
    for (size_t i = 0; i + 1 < size; i++) {
        std::span<uint8_t> input(bytes + i, 1);
        ck_assert(reader.read_header(input) == FrameReader::Step::need_input);
        ck_assert(input.empty());
    }
    std::span<uint8_t> input(bytes + size - 1, 4);
    ck_assert(reader.read_header(input) == FrameReader::Step::header);
    ck_assert_uint_eq(input.size(), 3);
    ck_assert_uint_eq(reader.remaining(), 70000);
}
END_TEST

START_TEST(looking_twice_unmasks_once) {
    uint8_t bytes[] = {0x82, 0x88, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4};
    FrameReader reader(Role::server, false);
    std::span<uint8_t> input = bytes;
    ck_assert(reader.read_header(input) == FrameReader::Step::header);
    const uint8_t zeros[8] = {};
    // Three bytes are there, one is taken; then all are there.
    ck_assert(text_of(reader.peek(input.first(3))) == text_of(std::span(zeros, 3)));
    ck_assert(text_of(reader.peek(input.first(3))) == text_of(std::span(zeros, 3)));
    reader.take(input, 1);
    ck_assert_uint_eq(reader.remaining(), 7);
    ck_assert(text_of(reader.peek(input)) == text_of(std::span(zeros, 7)));
    reader.take(input, 7);
    ck_assert_uint_eq(reader.remaining(), 0);
}
END_TEST

START_TEST(every_error_has_a_text) {
    for (int i = 0; i <= static_cast<int>(ws::FrameError::length_out_of_range); i++)
        ck_assert_str_ne(ws::describe(static_cast<ws::FrameError>(i)), "unknown error");
}
END_TEST

int main() {
    return run_suite("frame", {a_header_is_written_in_its_shortest_form_and_read_back,
                               a_header_can_come_byte_by_byte_and_leaves_the_payload,
                               looking_twice_unmasks_once, every_error_has_a_text});
}
