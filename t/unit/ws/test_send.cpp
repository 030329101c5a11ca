// SPDX-License-Identifier: BSD-3-Clause
// Sending: what is written, and what is refused.
#include "ws/connection.h"
#include "ws/deflate.h"
#include "ws/mask.h"

#include "suite.h"

using ws::Connection;
using ws::EventType;
using ws::Opcode;
using ws::Role;
using ws::SendStatus;

// A payload with the headroom in front of it.
struct Buffer {
    explicit Buffer(std::string_view text) : bytes(Connection::headroom + text.size()) {
        std::copy(text.begin(), text.end(), bytes.begin() + Connection::headroom);
    }
    std::span<uint8_t> payload() { return std::span(bytes).subspan(Connection::headroom); }
    Bytes bytes;
};

START_TEST(a_server_frame_is_header_and_payload_in_one) {
    Connection server(Role::server);
    Buffer buffer("Hello");
    const auto sent = server.send(Opcode::text, buffer.payload());
    ck_assert(sent.status == SendStatus::ok);
    ck_assert(text_of(sent.bytes) == "\x81\x05Hello");
    ck_assert_ptr_eq(sent.bytes.data() + 2, buffer.payload().data());
}
END_TEST

START_TEST(a_client_frame_is_masked_and_read_by_a_server) {
    Connection client(Role::client, {}, nullptr, test_mask_key), server(Role::server);
    for (const size_t size : {0, 1, 125, 126, 65535, 65536, 100000}) {
        const std::string text(size, 'x');
        Buffer buffer(text);
        std::span<uint8_t> bytes = client.send(Opcode::text, buffer.payload()).bytes;
        ck_assert_uint_eq(bytes.size(), size + (size < 126 ? 6 : size <= 65535 ? 8 : 14));
        if (size > 4) ck_assert(text_of(bytes.last(size)) != text);
        ck_assert(text_of(server.receive(bytes).payload) == text);
    }
}
END_TEST

START_TEST(a_message_of_unknown_length_is_fragments) {
    Connection server(Role::server);
    Buffer one("on"), two("e"), three("");
    ck_assert(text_of(server.send(Opcode::binary, one.payload(), false).bytes) == "\x02\x02on");
    ck_assert(server.sending_message());
    const auto middle = server.send(Opcode::binary, two.payload(), false).bytes;
    ck_assert(text_of(middle) == std::string_view("\0\1e", 3));
    const auto last = server.send(Opcode::binary, three.payload(), true).bytes;
    ck_assert(text_of(last) == std::string_view("\x80\0", 2));
    ck_assert(!server.sending_message());
}
END_TEST

START_TEST(a_header_alone_announces_a_payload_elsewhere) {
    Connection server(Role::server), client(Role::client, {}, nullptr, test_mask_key);
    uint8_t out[ws::max_header_size];
    ck_assert(text_of(server.send_header(Opcode::binary, 300, true, out).bytes) ==
              "\x82\x7E\x01\x2C");
    const auto header = client.send_header(Opcode::binary, 3, true, out).bytes;
    ck_assert_uint_eq(header.size(), 6);
    ck_assert_uint_eq(header[1], 0x83);
    Bytes wire(header.begin(), header.end()), payload = bytes_of("abc");
    ws::apply_mask(payload, {header[2], header[3], header[4], header[5]});
    wire.insert(wire.end(), payload.begin(), payload.end());
    std::span<uint8_t> input = wire;
    ck_assert(text_of(server.receive(input).payload) == "abc");
}
END_TEST

START_TEST(only_messages_are_sent_and_each_with_one_opcode) {
    Connection server(Role::server);
    Buffer buffer("x");
    for (const auto opcode : {Opcode::continuation, Opcode::close, Opcode::ping, Opcode::pong})
        ck_assert(server.send(opcode, buffer.payload()).status == SendStatus::wrong_opcode);
    ck_assert(server.send(Opcode::text, buffer.payload(), false).status == SendStatus::ok);
    ck_assert(server.send(Opcode::binary, buffer.payload()).status == SendStatus::wrong_opcode);
    ck_assert(server.send(Opcode::text, buffer.payload()).status == SendStatus::ok);
    ck_assert(server.send(Opcode::binary, buffer.payload()).status == SendStatus::ok);
}
END_TEST

START_TEST(control_frames_go_between_fragments) {
    Connection server(Role::server);
    Buffer buffer("x");
    uint8_t out[ws::max_control_frame];
    server.send(Opcode::text, buffer.payload(), false);
    ck_assert(text_of(server.send_ping(bytes_of("p"), out).bytes) == "\x89\x01p");
    ck_assert(text_of(server.send_pong({}, out).bytes) == std::string_view("\x8A\0", 2));
    ck_assert(text_of(server.send(Opcode::text, buffer.payload()).bytes) == "\x80\x01x");
}
END_TEST

START_TEST(control_frames_are_short) {
    Connection server(Role::server);
    uint8_t out[ws::max_control_frame];
    ck_assert(server.send_ping(Bytes(125), out).status == SendStatus::ok);
    ck_assert(server.send_ping(Bytes(126), out).status == SendStatus::control_too_long);
    ck_assert(server.send_pong(Bytes(3), std::span(out, 4)).status == SendStatus::no_space);
    ck_assert(server.send_close(1000, std::string(124, 'r'), out).status ==
              SendStatus::control_too_long);
    ck_assert(server.state() == ws::CloseState::open);
    ck_assert(server.send_close(1000, std::string(123, 'r'), out).bytes.size() == 127);
}
END_TEST

START_TEST(codes_that_may_not_be_sent_are_not) {
    uint8_t out[ws::max_control_frame];
    for (uint32_t code = 0; code < 65536; code++) {
        Connection server(Role::server);
        const bool allowed = (code >= 1000 && code <= 1014 && code != 1004 && code != 1006) ||
                             (code >= 3000 && code <= 4999);
        const auto status = server.send_close(uint16_t(code), "", out).status;
        ck_assert(status == (allowed ? SendStatus::ok : SendStatus::bad_close_code));
    }
}
END_TEST

START_TEST(a_close_without_a_code_has_no_payload_and_no_reason) {
    Connection server(Role::server);
    uint8_t out[ws::max_control_frame];
    ck_assert(server.send_close(1005, "why", out).status == SendStatus::bad_close_code);
    ck_assert(text_of(server.send_close(1005, "", out).bytes) == std::string_view("\x88\0", 2));
}
END_TEST

START_TEST(a_reason_is_utf8) {
    Connection server(Role::server);
    uint8_t out[ws::max_control_frame];
    ck_assert(server.send_close(1000, "\xFF", out).status == SendStatus::bad_utf8);
    ck_assert(server.send_close(1000, "\xE2\x82", out).status == SendStatus::bad_utf8);
    ck_assert(server.send_close(1000, "\xE2\x82\xAC", out).status == SendStatus::ok);
}
END_TEST

START_TEST(nothing_follows_our_close) {
    ws::DeflatePool pool;
    ws::PerMessageDeflate deflate(Role::server, {}, pool);
    Connection server(Role::server, {}, &deflate);
    Buffer buffer("x");
    uint8_t out[ws::max_control_frame];
    std::span<const uint8_t> input = buffer.bytes;
    server.send_close(1000, "", out);
    ck_assert(server.send(Opcode::text, buffer.payload()).status == SendStatus::closing);
    ck_assert(server.send_compressed(Opcode::text, input, true, out).status == SendStatus::closing);
    ck_assert(server.send_ping({}, out).status == SendStatus::closing);
    ck_assert(server.send_close(1000, "", out).status == SendStatus::closing);
}
END_TEST

START_TEST(every_status_has_a_text) {
    for (int i = 0; i <= static_cast<int>(SendStatus::no_memory); i++)
        ck_assert_str_ne(ws::describe(static_cast<SendStatus>(i)), "unknown status");
}
END_TEST

int main() {
    return run_suite(
        "send",
        {a_server_frame_is_header_and_payload_in_one, a_client_frame_is_masked_and_read_by_a_server,
         a_message_of_unknown_length_is_fragments, a_header_alone_announces_a_payload_elsewhere,
         only_messages_are_sent_and_each_with_one_opcode, control_frames_go_between_fragments,
         control_frames_are_short, codes_that_may_not_be_sent_are_not,
         a_close_without_a_code_has_no_payload_and_no_reason, a_reason_is_utf8,
         nothing_follows_our_close, every_status_has_a_text});
}
