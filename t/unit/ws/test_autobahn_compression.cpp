// SPDX-License-Identifier: BSD-3-Clause
// Autobahn groups 12 and 13, RFC 7692, by number: kinds of data or parameters times sizes of
// messages and fragments. The messages go from a client to a server that echoes them compressed and
// back, after the negotiation of the same parameters by either end.
//
// What differs from the original suite: its data files are not ours to copy, so data of the same
// kind is made here; and of its 1000 messages per case as many are sent as make 256 KiB (at least
// 4, at most 1000), unless the program is called with --full.
#include <algorithm>
#include <cstdio>

#include "suite.h"
#include "ws/connection.h"
#include "ws/deflate.h"

using ws::Connection;
using ws::DeflateParameters;
using ws::Opcode;
using ws::Role;

// 12.x.1 to 12.x.18, and the same for 13: bytes of a message and of a fragment (0: not fragmented).
static const struct Size {
    size_t message, fragment;
} sizes[] = {{16, 0},        {64, 0},        {256, 0},       {1024, 0},    {4096, 0},
             {8192, 0},      {16384, 0},     {32768, 0},     {65536, 0},   {131072, 0},
             {8192, 256},    {16384, 256},   {32768, 256},   {65536, 256}, {131072, 256},
             {131072, 1024}, {131072, 4096}, {131072, 32768}};
constexpr int size_count = std::size(sizes);
static_assert(size_count == 18);

static bool full = false;

// ---- Data

static Bytes json_data(size_t size) {
    Random random(1);
    std::string text = "[";
    while (text.size() < size)
        text += "{\"id\": " + std::to_string(random.below(100000)) + ", \"name\": \"user" +
                std::to_string(random.below(50)) +
                "\", \"active\": " + (random.below(2) ? "true" : "false") +
                ", \"tags\": [\"alpha\", \"beta\"]},\n";
    return bytes_of(text.substr(0, size));
}

static Bytes bitmap_data(size_t size) {
    Random random(2);
    Bytes bytes(size);
    for (size_t i = 0; i < size; i++)  // 512 pixels wide, soft gradients and noise
        bytes[i] = uint8_t((i % 512) / 3 + (i / 512) / 2 + random.below(6));
    return bytes;
}

static Bytes prose_data(size_t size) {
    static const char* words[] = {"Habe",     "nun",      "ach",    "Philosophie", "Juristerei",
                                  "und",      "Medizin",  "leider", "auch",        "Theologie",
                                  "durchaus", "studiert", "mit",    "heißem",      "Bemühn",
                                  "da",       "steh",     "ich"};
    Random random(3);
    std::string text;
    while (text.size() < size) {
        text += words[random.below(std::size(words))];
        text += random.below(9) ? " " : ",\r\n";
    }
    return bytes_of(text.substr(0, size));
}

static Bytes html_data(size_t size) {
    Random random(4);
    std::string text = "<!DOCTYPE html><html><body>\n";
    while (text.size() < size)
        text += "<tr class=\"case\"><td><a href=\"#case_" + std::to_string(random.below(1000)) +
                "\">Case</a></td><td class=\"ok\">Pass</td></tr>\n";
    return bytes_of(text.substr(0, size));
}

static Bytes pdf_data(size_t size) {
    Random random(5);
    Bytes bytes(size);
    for (size_t i = 0; i < size; i++)  // mostly compressed streams, some text between
        bytes[i] = i % 5000 < 4000 ? uint8_t(random()) : uint8_t("endstream endobj "[i % 17]);
    return bytes;
}

static const struct Kind {
    const char* name;
    Bytes (*make)(size_t);
    Opcode opcode;
} kinds[] = {{"large JSON", json_data, Opcode::text},
             {"bitmap", bitmap_data, Opcode::binary},
             {"prose", prose_data, Opcode::binary},
             {"large HTML", html_data, Opcode::text},
             {"larger PDF", pdf_data, Opcode::binary}};

// Data of each kind, made once.
static const Bytes& data_of(const Kind& kind) {
    static Bytes cache[std::size(kinds)];
    Bytes& data = cache[&kind - kinds];
    if (data.empty()) data = kind.make(200000);
    return data;
}

// ---- Parameters

// 13.1 to 13.7: the client's offers as the suite's client makes them, and what its server insists
// on when it is the one to choose.
static const struct Settings {
    const char* offers;
    DeflateParameters policy;
    DeflateParameters agreed;
} settings[] = {
    {"permessage-deflate; client_no_context_takeover; client_max_window_bits",
     {},
     {false, true, 15, 15}},
    {"permessage-deflate; client_no_context_takeover; client_max_window_bits; "
     "server_no_context_takeover",
     {false, true, 15, 15},
     {true, true, 15, 15}},
    {"permessage-deflate; client_no_context_takeover; client_max_window_bits; "
     "server_max_window_bits=8",
     {false, false, 15, 8},
     {false, true, 8, 8}},
    {"permessage-deflate; client_no_context_takeover; client_max_window_bits; "
     "server_max_window_bits=15",
     {},
     {false, true, 15, 15}},
    {"permessage-deflate; client_no_context_takeover; client_max_window_bits; "
     "server_no_context_takeover; server_max_window_bits=8",
     {false, true, 15, 8},
     {true, true, 8, 8}},
    {"permessage-deflate; client_no_context_takeover; client_max_window_bits; "
     "server_no_context_takeover; server_max_window_bits=15",
     {false, true, 15, 15},
     {true, true, 15, 15}},
    {"permessage-deflate; client_no_context_takeover; client_max_window_bits; "
     "server_no_context_takeover; server_max_window_bits=8, permessage-deflate; "
     "client_no_context_takeover; client_max_window_bits; server_no_context_takeover, "
     "permessage-deflate; client_no_context_takeover; client_max_window_bits",
     {false, true, 15, 8},
     {true, true, 8, 8}},
};

// ---- Running a case

static Bytes send(Connection& from, Opcode opcode, std::span<const uint8_t> message,
                  size_t fragment) {
    Bytes wire, out(fragment ? fragment : 16384);
    out.resize(std::max<size_t>(out.size(), Connection::min_compress_space));
    for (bool last = false; !last;) {
        auto input = message.first(fragment ? std::min(fragment, message.size()) : message.size());
        message = message.subspan(input.size());
        last = message.empty();
        ws::Sent sent;
        do {
            sent = from.send_compressed(opcode, input, last, out);
            wire.insert(wire.end(), sent.bytes.begin(), sent.bytes.end());
        } while (sent.status == ws::SendStatus::need_output);
        ck_assert(sent.status == ws::SendStatus::ok);
    }
    return wire;
}

static Bytes receive(Connection& to, Opcode opcode, Bytes wire) {
    Bytes message, space(4096);
    std::span<uint8_t> input = wire;
    for (;;) {
        const auto event = to.receive(input, space);
        if (event.type != ws::EventType::message || event.opcode != opcode)
            ck_abort_msg("%.*s", int(event.reason.size()), event.reason.data());
        message.insert(message.end(), event.payload.begin(), event.payload.end());
        if (!event.last) continue;
        if (!input.empty()) ck_abort_msg("input is left");
        return message;
    }
}

static void expect_echoes(const Kind& kind, const Size& size, const DeflateParameters& agreed) {
    ws::DeflatePool pool;
    ws::PerMessageDeflate client_deflate(Role::client, agreed, pool);
    ws::PerMessageDeflate server_deflate(Role::server, agreed, pool);
    Connection client(Role::client, {}, &client_deflate, test_mask_key);
    Connection server(Role::server, {}, &server_deflate);
    const size_t bounded = std::clamp<size_t>(256 * 1024 / size.message, 4, 1000);
    const Bytes& data = data_of(kind);
    size_t at = 0;
    for (size_t count = full ? 1000 : bounded; count > 0; count--) {
        if (at + size.message > data.size()) at = 0;
        const auto message = std::span(data).subspan(at, size.message);
        at += size.message;
        const Bytes there =
            receive(server, kind.opcode, send(client, kind.opcode, message, size.fragment));
        const Bytes back =
            receive(client, kind.opcode, send(server, kind.opcode, there, size.fragment));
        if (!std::equal(back.begin(), back.end(), message.begin(), message.end()))
            ck_abort_msg("the echo differs");
    }
}

START_TEST(group_12) {
    const Kind& kind = kinds[_i / size_count];
    std::string_view offer =
        "permessage-deflate; client_no_context_takeover; client_max_window_bits";
    const auto negotiated = ws::negotiate_deflate({&offer, 1}, DeflateParameters{});
    ck_assert(negotiated.agreed.has_value());
    printf("12.%d.%d %s\n", _i / size_count + 1, _i % size_count + 1, kind.name);
    expect_echoes(kind, sizes[_i % size_count], *negotiated.agreed);
}
END_TEST

START_TEST(group_13) {
    const Settings& chosen = settings[_i / size_count];
    const Size& size = sizes[_i % size_count];
    printf("13.%d.%d %s\n", _i / size_count + 1, _i % size_count + 1, chosen.offers);
    // We are the server: the offers are what the suite's client sends.
    std::string_view offers = chosen.offers;
    const auto negotiated = ws::negotiate_deflate({&offers, 1}, chosen.policy);
    ck_assert(negotiated.agreed == chosen.agreed);
    expect_echoes(kinds[0], size, *negotiated.agreed);
    // We are the client: the suite's server chooses from our own offer.
    const auto offer = ws::make_deflate_offer(chosen.agreed);
    std::string_view ours = offer;
    const auto chosen_by_peer = ws::negotiate_deflate({&ours, 1}, chosen.policy);
    std::string_view response = chosen_by_peer.response;
    const auto checked = ws::check_deflate_response({&response, 1}, chosen.agreed);
    ck_assert(checked.valid && checked.agreed == chosen.agreed);
}
END_TEST

int main(int argc, char** argv) {
    full = argc > 1 && std::string_view(argv[1]) == "--full";
    TCase* tcase = tcase_create("compression");
    tcase_set_timeout(tcase, full ? 600 : 30);
    tcase_add_loop_test(tcase, group_12, 0, int(std::size(kinds)) * size_count);
    tcase_add_loop_test(tcase, group_13, 0, int(std::size(settings)) * size_count);
    Suite* suite = suite_create("autobahn");
    suite_add_tcase(suite, tcase);
    SRunner* runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    const int run = srunner_ntests_run(runner);
    srunner_free(runner);
    printf("%d cases of groups 12 and 13\n", run);
    return failed || run != 5 * 18 + 7 * 18;
}
