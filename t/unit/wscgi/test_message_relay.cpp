// SPDX-License-Identifier: BSD-3-Clause
// The relay between a client's frames and a program's lines: what is delivered, when the answer to
// a Close is sent, and which code ends the session.
#include <string>
#include <vector>

#include "mod_wscgi/lines.h"
#include "mod_wscgi/message_relay.h"

#include "t/unit/suite.h"  // last

using wscgi::Gathered;
using wscgi::ProgramEnd;

namespace {

struct Output : wscgi::ClientOutput {
    void append(std::span<const uint8_t> more) override {
        bytes.insert(bytes.end(), more.begin(), more.end());
    }
    void append_copy(std::span<const uint8_t> more) override { append(more); }
    std::vector<uint8_t> bytes;
};

uint32_t mask_key() { return 0x12345678; }

// A relay with a client on one side and a program on the other.
struct Harness {
    Harness() : Harness(wscgi::MessageRelayOptions()) {}
    explicit Harness(const wscgi::MessageRelayOptions& options)
        : relay(std::make_unique<wscgi::Lines>(wscgi::MessageType::text), options, output, nullptr,
                1000),
          client(ws::Role::client, {}, nullptr, mask_key) {}

    static std::vector<uint8_t> bytes_of(std::span<uint8_t> span) {
        return {span.begin(), span.end()};
    }

    // A text message in frames, as the client sends it.
    std::vector<uint8_t> message(std::string_view text) {
        std::vector<uint8_t> space(ws::Connection::headroom);
        space.insert(space.end(), text.begin(), text.end());
        const auto payload = std::span(space).subspan(ws::Connection::headroom);
        return bytes_of(client.send(ws::Opcode::text, payload).bytes);
    }

    std::vector<uint8_t> close(uint16_t code) {
        std::vector<uint8_t> space(ws::max_control_frame);
        return bytes_of(client.send_close(code, "", space).bytes);
    }

    // What the program reads when the client sends `frames`.
    std::string send(std::vector<uint8_t> frames) {
        std::string read;
        std::span<uint8_t> bytes(frames);
        while (!bytes.empty()) {
            Gathered gathered;
            relay.from_client(bytes, gathered);
            for (const auto piece : gathered.pieces()) read.append(piece.begin(), piece.end());
        }
        return read;
    }

    void write(std::string text, bool end = false) {
        std::span<uint8_t> bytes(reinterpret_cast<uint8_t*>(text.data()), text.size());
        relay.from_program(bytes, end, end);
        ck_assert_uint_eq(bytes.size(), 0);
    }

    // What the client has received since it was last asked, as readable text.
    std::string received() {
        std::string log;
        std::span<uint8_t> bytes(output.bytes);
        for (;;) {
            const ws::Event event = client.receive(bytes);
            if (event.type == ws::EventType::message)
                log += "[" + std::string(event.payload.begin(), event.payload.end()) + "]";
            else if (event.type == ws::EventType::close)
                log += "close " + std::to_string(event.code);
            else if (event.type == ws::EventType::ping)
                log += "ping";
            else if (event.type == ws::EventType::error)
                log += "error " + std::to_string(event.code);
            else
                break;
        }
        output.bytes.clear();
        return log;
    }

    Output output;
    wscgi::MessageRelay relay;
    ws::Connection client;
};

}  // namespace

START_TEST(messages_pass_both_ways) {
    Harness harness;
    ck_assert(harness.send(harness.message("hello")) == "hello\n");
    harness.write("one\ntwo\n");
    ck_assert(harness.received() == "[one][two]");
    ck_assert(!harness.relay.input_ended() && !harness.relay.finished());
}
END_TEST

START_TEST(a_message_cut_anywhere_reaches_the_program_whole) {
    const size_t size = Harness().message("hello").size();
    for (size_t i = 0; i <= size; ++i) {
        Harness harness;
        const std::vector<uint8_t> frames = harness.message("hello");
        const auto cut = frames.begin() + static_cast<ptrdiff_t>(i);
        const std::string first = harness.send({frames.begin(), cut});
        ck_assert((first + harness.send({cut, frames.end()})) == "hello\n");
    }
}
END_TEST

START_TEST(a_close_is_answered_when_the_program_has_ended) {
    Harness harness;
    harness.send(harness.message("hello"));
    harness.send(harness.close(1000));
    ck_assert(harness.relay.input_ended() && harness.relay.output_wanted());
    ck_assert(harness.received() == "");
    harness.write("late\n");
    harness.relay.program_ended({ProgramEnd::Kind::exited, 3});
    ck_assert(harness.relay.finished());
    ck_assert(harness.received() == "[late]close 1000");
}
END_TEST

START_TEST(the_end_of_the_program_decides_the_code) {
    const struct {
        ProgramEnd end;
        const char* received;
    } cases[] = {{{ProgramEnd::Kind::exited, 0}, "close 1000"},
                 {{ProgramEnd::Kind::exited, 7}, "close 1011"},
                 {{ProgramEnd::Kind::killed, 9}, "close 1011"},
                 {{ProgramEnd::Kind::overdue, 0}, "close 1011"}};
    for (const auto& one : cases) {
        Harness harness;
        harness.relay.program_ended(one.end);
        ck_assert(harness.received() == one.received);
        ck_assert(!harness.relay.finished());
        harness.send(harness.close(1000));
        ck_assert(harness.relay.finished());
    }
}
END_TEST

START_TEST(a_close_that_is_not_answered_ends_the_session_in_time) {
    wscgi::MessageRelayOptions options;
    options.close_timeout = 5;
    Harness harness(options);
    harness.relay.shut_down(1001, "");
    harness.relay.tick(1005);
    ck_assert(!harness.relay.finished());
    harness.relay.tick(1006);
    ck_assert(harness.relay.finished());
}
END_TEST

START_TEST(a_silent_client_is_pinged_and_then_left) {
    wscgi::MessageRelayOptions options;
    options.ping_interval = 30;
    options.pong_timeout = 20;
    Harness harness(options);
    harness.relay.tick(1029);
    ck_assert(harness.received() == "");
    harness.relay.tick(1030);
    ck_assert(harness.received() == "ping");
    harness.relay.tick(1049);
    ck_assert(!harness.relay.finished());
    harness.relay.tick(1050);
    ck_assert(harness.relay.finished());
}
END_TEST

START_TEST(any_sign_of_life_counts_as_an_answer) {
    Harness harness;
    harness.relay.tick(1030);
    harness.send(harness.message("x"));
    harness.relay.tick(1059);
    ck_assert(!harness.relay.finished());
    ck_assert(harness.received() == "ping");
}
END_TEST

// Its program does not read, so that its pong cannot be heard.
START_TEST(a_client_whose_silence_is_excused_has_an_age_and_a_limit_of_idleness_too) {
    wscgi::MessageRelayOptions aged, idle;
    aged.max_age = 60;
    idle.idle_timeout = 59;  // what was heard may be a second younger than it looks
    for (const wscgi::MessageRelayOptions& options : {aged, idle}) {
        Harness harness(options);
        for (int64_t now = 1030; now < 1060; ++now) {
            harness.relay.excuse_silence(now);
            harness.relay.tick(now);
            ck_assert(harness.relay.output_wanted());
        }
        harness.relay.excuse_silence(1060);
        harness.relay.tick(1060);
        ck_assert(!harness.relay.output_wanted());
    }
}
END_TEST

START_TEST(text_that_is_not_utf8_ends_the_session) {
    Harness harness;
    harness.write(
        "good\nb\xff"
        "d\nmore\n");
    ck_assert(harness.received() == "[good]close 1011");
    ck_assert(harness.relay.input_ended() && !harness.relay.output_wanted());
}
END_TEST

START_TEST(a_client_that_breaks_a_rule_is_told_and_dropped) {
    Harness harness;
    harness.send({0x81, 0x01, 'x'});  // not masked
    ck_assert(harness.received() == "close 1002");
    ck_assert(harness.relay.finished());
}
END_TEST

START_TEST(a_client_that_only_ends_its_direction_still_gets_the_rest) {
    Harness harness;
    harness.relay.client_ended();
    ck_assert(harness.relay.input_ended() && harness.relay.output_wanted());
    harness.write("rest\n");
    harness.relay.program_ended({ProgramEnd::Kind::exited, 0});
    ck_assert(harness.received() == "[rest]close 1000");
    ck_assert(harness.relay.finished());
}
END_TEST

int main() {
    return run_suite(
        "message_relay",
        {messages_pass_both_ways, a_message_cut_anywhere_reaches_the_program_whole,
         a_close_is_answered_when_the_program_has_ended, the_end_of_the_program_decides_the_code,
         a_close_that_is_not_answered_ends_the_session_in_time,
         a_silent_client_is_pinged_and_then_left, any_sign_of_life_counts_as_an_answer,
         a_client_whose_silence_is_excused_has_an_age_and_a_limit_of_idleness_too,
         text_that_is_not_utf8_ends_the_session, a_client_that_breaks_a_rule_is_told_and_dropped,
         a_client_that_only_ends_its_direction_still_gets_the_rest});
}
