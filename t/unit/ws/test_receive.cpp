// SPDX-License-Identifier: BSD-3-Clause
// Receiving: flow control, replies and their bounds. What each frame amounts to is in golden/.
#include "ws/connection.h"
#include "ws/deflate.h"

#include "suite.h"

using ws::CloseState;
using ws::Connection;
using ws::EventType;
using ws::Opcode;
using ws::Role;

// A masked frame with a zero key, which leaves the payload as it is.
static Bytes frame(uint8_t first, std::string_view payload) {
    Bytes bytes(6 + payload.size());
    bytes[0] = first;
    bytes[1] = uint8_t(0x80 | payload.size());
    std::copy(payload.begin(), payload.end(), bytes.begin() + 6);
    return bytes;
}

static Bytes join(std::initializer_list<Bytes> parts) {
    Bytes all;
    for (const Bytes& part : parts) all.insert(all.end(), part.begin(), part.end());
    return all;
}

START_TEST(a_small_message_is_one_event_in_the_callers_memory) {
    Connection server(Role::server);
    Bytes bytes = frame(0x81, "Hello");
    std::span<uint8_t> input = bytes;
    const auto event = server.receive(input);
    ck_assert(event.type == EventType::message);
    ck_assert(event.opcode == Opcode::text && event.first && event.last);
    ck_assert_ptr_eq(event.payload.data(), bytes.data() + 6);
    ck_assert(text_of(event.payload) == "Hello");
    ck_assert(input.empty());
    ck_assert(server.receive(input).type == EventType::need_input);
}
END_TEST

START_TEST(data_comes_as_soon_as_its_bytes) {
    Connection server(Role::server);
    Bytes bytes = frame(0x82, "abcdef");
    std::span<uint8_t> head(bytes.data(), 8), tail(bytes.data() + 8, 4);
    auto event = server.receive(head);
    ck_assert(event.first && !event.last && text_of(event.payload) == "ab");
    event = server.receive(tail);
    ck_assert(!event.first && event.last && text_of(event.payload) == "cdef");
}
END_TEST

START_TEST(one_event_takes_only_its_bytes) {
    Connection server(Role::server);
    Bytes bytes = join({frame(0x81, "one"), frame(0x81, "two")});
    std::span<uint8_t> input = bytes;
    ck_assert(text_of(server.receive(input).payload) == "one");
    ck_assert_uint_eq(input.size(), 9);
    // The caller may move what is left.
    Bytes moved(input.begin(), input.end());
    input = moved;
    ck_assert(text_of(server.receive(input).payload) == "two");
}
END_TEST

START_TEST(only_the_newest_ping_is_answered_if_the_answer_waited) {
    Connection server(Role::server);
    for (int i = 0; i < 100000; i++) {
        Bytes bytes = frame(0x89, std::to_string(i));
        std::span<uint8_t> input = bytes;
        ck_assert(server.receive(input).type == EventType::ping);
        ck_assert(server.pending());
    }
    uint8_t out[ws::max_control_frame];
    const size_t size = server.take_pending(out);
    ck_assert(text_of(std::span(out, size)) ==
              "\x8A\x05"
              "99999");
    ck_assert(!server.pending());
    ck_assert_uint_eq(server.take_pending(out), 0);
}
END_TEST

START_TEST(a_ping_in_pieces_replaces_the_pong_that_waits) {
    Connection server(Role::server);
    Bytes bytes = join({frame(0x89, "old"), frame(0x89, "newer")});
    std::span<uint8_t> input(bytes.data(), bytes.size() - 2),
        rest(bytes.data() + bytes.size() - 2, 2);
    ck_assert(server.receive(input).type == EventType::ping);
    ck_assert(server.receive(input).type == EventType::need_input);
    ck_assert(server.receive(rest).type == EventType::ping);
    uint8_t out[ws::max_control_frame];
    ck_assert(text_of(std::span(out, server.take_pending(out))) == "\x8A\x05newer");
}
END_TEST

START_TEST(a_pong_in_pieces_waits_for_the_pong_that_waits) {
    Connection server(Role::server);
    Bytes bytes = join({frame(0x89, "ping"), frame(0x8A, "pong")});
    std::span<uint8_t> input(bytes.data(), bytes.size() - 2);
    ck_assert(server.receive(input).type == EventType::ping);
    ck_assert(server.receive(input).type == EventType::need_output);
    ck_assert(server.receive(input).type == EventType::need_output);
    uint8_t out[ws::max_control_frame];
    ck_assert(text_of(std::span(out, server.take_pending(out))) == "\x8A\x04ping");
    ck_assert(server.receive(input).type == EventType::need_input);
    std::span<uint8_t> rest(bytes.data() + bytes.size() - 2, 2);
    const auto event = server.receive(rest);
    ck_assert(event.type == EventType::pong && text_of(event.payload) == "pong");
}
END_TEST

START_TEST(replies_wait_for_room) {
    Connection server(Role::server);
    Bytes bytes = join({frame(0x89, "12345"), frame(0x88, "")});
    std::span<uint8_t> input = bytes;
    server.receive(input);
    ck_assert(server.receive(input).type == EventType::close);
    uint8_t out[16];
    ck_assert_uint_eq(server.take_pending(std::span(out, 6)), 0);
    ck_assert_uint_eq(server.take_pending(std::span(out, 7)), 7);
    ck_assert(server.pending());
    ck_assert_uint_eq(server.take_pending(std::span(out, 1)), 0);
    ck_assert_uint_eq(server.take_pending(out), 2);
    ck_assert(server.state() == CloseState::closed);
}
END_TEST

START_TEST(messages_may_be_sent_until_the_close_is_answered) {
    Connection server(Role::server);
    Bytes bytes = frame(0x88, "\x03\xE8");
    std::span<uint8_t> input = bytes;
    ck_assert(server.receive(input).type == EventType::close);
    ck_assert(server.receive(input).type == EventType::closed);
    ck_assert(server.state() == CloseState::close_received);
    uint8_t buffer[Connection::headroom + 2] = {};
    const auto payload = std::span(buffer).subspan(Connection::headroom);
    ck_assert(server.send(Opcode::text, payload).status == ws::SendStatus::ok);
    uint8_t out[ws::max_control_frame];
    ck_assert_uint_eq(server.take_pending(out), 4);
    ck_assert(server.send(Opcode::text, payload).status == ws::SendStatus::closing);
}
END_TEST

START_TEST(what_the_peer_had_under_way_arrives_after_our_close) {
    Connection server(Role::server);
    uint8_t out[ws::max_control_frame];
    ck_assert(server.send_close(1000, "", out).status == ws::SendStatus::ok);
    Bytes bytes = join({frame(0x81, "late"), frame(0x89, "x"), frame(0x88, ""), frame(0x81, "no")});
    std::span<uint8_t> input = bytes;
    ck_assert(text_of(server.receive(input).payload) == "late");
    ck_assert(server.receive(input).type == EventType::ping);
    ck_assert(!server.pending());  // nothing may follow our Close
    ck_assert(server.receive(input).type == EventType::close);
    ck_assert(server.state() == CloseState::closed);
    ck_assert(server.receive(input).type == EventType::closed);
    ck_assert(input.empty());
    ck_assert(!server.pending());
}
END_TEST

START_TEST(an_error_after_our_close_sends_no_second_one) {
    Connection server(Role::server);
    uint8_t out[ws::max_control_frame];
    server.send_close(1000, "", out);
    Bytes bytes = frame(0x83, "");
    std::span<uint8_t> input = bytes;
    ck_assert(server.receive(input).type == EventType::error);
    ck_assert(!server.pending());
    ck_assert(server.state() == CloseState::closed);
}
END_TEST

START_TEST(a_close_in_pieces_ends_a_flood_of_pings) {
    Connection server(Role::server);
    Bytes bytes = join({frame(0x89, "x"), frame(0x88, "\x03\xE9 bye")});
    for (const uint8_t byte : bytes) {
        uint8_t one = byte;
        std::span<uint8_t> input(&one, 1);
        const auto event = server.receive(input);
        if (event.type != EventType::close) continue;
        ck_assert_uint_eq(event.code, 1001);
        ck_assert(event.reason == " bye");
    }
    ck_assert(server.state() == CloseState::close_received);
}
END_TEST

START_TEST(compressed_data_needs_space_and_waits_for_it) {
    ws::DeflatePool pool;
    ws::PerMessageDeflate deflate(Role::server, {}, pool);
    Connection server(Role::server, {}, &deflate);
    Bytes bytes = frame(0xC1, "\xF2\x48\xCD\xC9\xC9\x07" + std::string(1, '\0'));
    std::span<uint8_t> input = bytes;
    ck_assert(server.receive(input).type == EventType::need_output);
    ck_assert(server.receive(input).type == EventType::need_output);
    std::string text;
    uint8_t space[2];
    for (bool last = false; !last;) {
        const auto event = server.receive(input, space);
        ck_assert(event.type == EventType::message);
        ck_assert(event.first == text.empty());
        text += text_of(event.payload);
        last = event.last;
        // What was not taken may be moved.
        bytes.assign(input.begin(), input.end());
        input = bytes;
    }
    ck_assert_str_eq(text.c_str(), "Hello");
}
END_TEST

START_TEST(fragments_without_end_neither_grow_nor_hang) {
    Connection server(Role::server);
    Bytes bytes = frame(0x01, "x");
    const Bytes more = frame(0x00, "x");
    for (int i = 1; i < 131072; i++) bytes.insert(bytes.end(), more.begin(), more.end());
    std::span<uint8_t> input = bytes;
    uint32_t pieces = 0;
    auto event = server.receive(input);
    for (; event.type == EventType::message; event = server.receive(input)) pieces++;
    ck_assert(event.type == EventType::error);
    ck_assert_uint_eq(event.code, 1009);
    ck_assert_uint_eq(pieces, ws::Limits{}.max_fragments);
}
END_TEST

START_TEST(an_idle_connection_is_small) {
    ck_assert_uint_le(sizeof(Connection), 256);
    ck_assert_uint_le(sizeof(ws::PerMessageDeflate), 64);
}
END_TEST

START_TEST(the_closing_handshake_is_this_table) {
    using enum CloseState;
    using Step = ws::CloseStep;
    ck_assert(ws::after(open, Step::send_close) == close_sent);
    ck_assert(ws::after(open, Step::receive_close) == close_received);
    ck_assert(ws::after(open, Step::failure) == failed);
    ck_assert(ws::after(close_sent, Step::receive_close) == closed);
    ck_assert(ws::after(close_sent, Step::failure) == closed);
    ck_assert(ws::after(close_received, Step::send_close) == closed);
    ck_assert(ws::after(failed, Step::send_close) == closed);
    for (const auto step : {Step::send_close, Step::receive_close, Step::failure})
        ck_assert(ws::after(closed, step) == closed);
}
END_TEST

int main() {
    return run_suite(
        "receive",
        {a_small_message_is_one_event_in_the_callers_memory, data_comes_as_soon_as_its_bytes,
         one_event_takes_only_its_bytes, only_the_newest_ping_is_answered_if_the_answer_waited,
         a_ping_in_pieces_replaces_the_pong_that_waits,
         a_pong_in_pieces_waits_for_the_pong_that_waits, replies_wait_for_room,
         messages_may_be_sent_until_the_close_is_answered,
         what_the_peer_had_under_way_arrives_after_our_close,
         an_error_after_our_close_sends_no_second_one, a_close_in_pieces_ends_a_flood_of_pings,
         compressed_data_needs_space_and_waits_for_it, fragments_without_end_neither_grow_nor_hang,
         an_idle_connection_is_small, the_closing_handshake_is_this_table});
}
