// SPDX-License-Identifier: BSD-3-Clause
// The opening handshake: RFC 6455 section 4, RFC 8441.
#include "ws/handshake.h"

#include <algorithm>

#include "suite.h"

using ws::Field;
using ws::Request;
using Fields = std::vector<Field>;

// The example of RFC 6455 1.3.
static const Fields example = {
    {"Host", "server.example.com"},   {"Upgrade", "websocket"},
    {"Connection", "Upgrade"},        {"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="},
    {"Origin", "http://example.com"}, {"Sec-WebSocket-Protocol", "chat, superchat"},
    {"Sec-WebSocket-Version", "13"},
};

static Fields with(Fields fields, std::string_view name, std::string_view value) {
    for (Field& field : fields)
        if (field.name == name) field.value = value;
    return fields;
}

static Fields without(Fields fields, std::string_view name) {
    std::erase_if(fields, [&](const Field& field) { return field.name == name; });
    return fields;
}

static Fields plus(Fields fields, std::string_view name, std::string_view value) {
    fields.push_back({name, value});
    return fields;
}

static ws::ServerHandshake answer(const Fields& fields, const ws::ServerOptions& options = {},
                                  std::string_view method = "GET",
                                  Request::Version version = Request::Version::http_1_1,
                                  std::string_view protocol = "") {
    Request request;
    request.version = version;
    request.method = method;
    request.protocol = protocol;
    request.fields = fields;
    return ws::answer(request, options);
}

static std::string text_of(const ws::ServerHandshake& handshake) {
    std::array<Field, ws::max_response_fields> space;
    std::string text = std::to_string(handshake.status);
    for (const Field& field : handshake.fields(space))
        text += "|" + std::string(field.name) + ": " + std::string(field.value);
    return text;
}

static void expect_text(const ws::ServerHandshake& handshake, const char* expected) {
    const std::string text = text_of(handshake);
    ck_assert_str_eq(text.c_str(), expected);
}

START_TEST(the_example_of_the_rfc) {
    const std::string_view protocols[] = {"chat"};
    ws::ServerOptions options;
    options.subprotocols = protocols;
    const auto handshake = answer(example, options);
    ck_assert(handshake.accepted());
    expect_text(handshake,
                "101|Upgrade: websocket|Connection: Upgrade|Sec-WebSocket-Accept: "
                "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=|Sec-WebSocket-Protocol: chat");
}
END_TEST

START_TEST(names_and_tokens_in_any_case_and_lists) {
    ck_assert(answer(with(example, "Upgrade", "WebSocket")).accepted());
    ck_assert(answer(with(example, "Connection", "keep-alive, upgrade")).accepted());
    ck_assert(answer(plus(without(example, "Host"), "HOST", "x")).accepted());
    Fields two = plus(with(example, "Connection", "keep-alive"), "connection", "UPGRADE");
    ck_assert(answer(two).accepted());
}
END_TEST

START_TEST(requests_that_are_refused) {
    const struct {
        Fields fields;
        int status;
    } refused[] = {
        {without(example, "Host"), 400},
        {plus(example, "Host", "another"), 400},
        {without(example, "Upgrade"), 426},
        {with(example, "Upgrade", "h2c"), 426},
        {without(example, "Connection"), 400},
        {with(example, "Connection", "upgrades"), 400},
        {without(example, "Sec-WebSocket-Key"), 400},
        {plus(example, "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), 400},
        {with(example, "Sec-WebSocket-Key", ""), 400},
        {with(example, "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ="), 400},
        {with(example, "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZTE="), 400},
        {with(example, "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25*ZQ=="), 400},
        {with(example, "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==dGhlIHNhbXBsZSBub25jZQ=="),
         400},
        {without(example, "Sec-WebSocket-Version"), 400},
        {plus(example, "Sec-WebSocket-Version", "13"), 400},
        {with(example, "Sec-WebSocket-Version", "8"), 426},
        {with(example, "Sec-WebSocket-Version", "013"), 426},
        {with(example, "Sec-WebSocket-Protocol", "a b"), 400},
        {plus(example, "Sec-WebSocket-Extensions", "permessage-deflate;"), 400},
    };
    for (const auto& [fields, status] : refused) {
        const auto handshake = answer(fields);
        ck_assert_msg(handshake.status == status, "%d instead of %d: %s", handshake.status, status,
                      handshake.reason);
        ck_assert(!handshake.accepted());
        ck_assert_str_ne(handshake.reason, "");
    }
}
END_TEST

START_TEST(refusals_say_what_would_be_right) {
    expect_text(answer(with(example, "Sec-WebSocket-Version", "8")),
                "426|Upgrade: websocket|Connection: Upgrade|Sec-WebSocket-Version: 13");
    expect_text(answer(example, {}, "POST"), "405|Allow: GET");
    expect_text(answer(without(example, "Host")), "400");
    ck_assert_int_eq(answer(example, {}, "GET", Request::Version::http_1_0).status, 400);
}
END_TEST

START_TEST(subprotocols_are_the_servers_choice) {
    const std::string_view preferred[] = {"v2", "superchat", "chat"};
    ws::ServerOptions options;
    options.subprotocols = preferred;
    ck_assert(answer(example, options).subprotocol == "superchat");
    ck_assert(answer(with(example, "Sec-WebSocket-Protocol", "other"), options).subprotocol == "");
    ck_assert(answer(with(example, "Sec-WebSocket-Protocol", "other"), options).accepted());
    // Names are compared as they are.
    ck_assert(answer(with(example, "Sec-WebSocket-Protocol", "CHAT"), options).subprotocol == "");
    options.require_subprotocol = true;
    ck_assert_int_eq(answer(with(example, "Sec-WebSocket-Protocol", "other"), options).status, 400);
    ck_assert(answer(example, options).accepted());
    ck_assert(answer(example).subprotocol == "");
}
END_TEST

START_TEST(compression_is_negotiated) {
    ws::ServerOptions options;
    options.deflate = ws::DeflateParameters{.server_no_context_takeover = true};
    const auto handshake =
        answer(plus(example, "Sec-WebSocket-Extensions", "permessage-deflate"), options);
    ck_assert(handshake.deflate->server_no_context_takeover);
    ck_assert(handshake.extensions.view() == "permessage-deflate; server_no_context_takeover");
    ck_assert(!answer(example, options).deflate);
}
END_TEST

START_TEST(too_many_fields_are_refused) {
    Fields many = example;
    for (int i = 0; i < 100; i++) many.push_back({"Sec-WebSocket-Protocol", "x"});
    ck_assert_int_eq(answer(many).status, 400);
}
END_TEST

START_TEST(extended_connect_of_http_2) {
    const Fields fields = {{"sec-websocket-version", "13"},
                           {"sec-websocket-protocol", "chat"},
                           {"sec-websocket-extensions", "permessage-deflate"}};
    const std::string_view protocols[] = {"chat"};
    ws::ServerOptions options;
    options.subprotocols = protocols;
    options.deflate = ws::DeflateParameters{};
    const auto http_2 = Request::Version::http_2;
    expect_text(answer(fields, options, "CONNECT", http_2, "websocket"),
                "200|Sec-WebSocket-Protocol: chat|Sec-WebSocket-Extensions: permessage-deflate");
    expect_text(answer(fields, options, "GET", http_2, "websocket"), "405|Allow: CONNECT");
    ck_assert_int_eq(answer(fields, options, "CONNECT", http_2, "").status, 400);
    expect_text(answer(with(fields, "sec-websocket-version", "12"), options, "CONNECT", http_2,
                       "websocket"),
                "426|Sec-WebSocket-Version: 13");
}
END_TEST

// ---- Client

static const Fields accepted = {{"Upgrade", "websocket"},
                                {"Connection", "Upgrade"},
                                {"Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}};

static ws::ClientHandshake check(const Fields& fields, const ws::ClientOptions& options = {},
                                 uint16_t status = 101,
                                 Request::Version version = Request::Version::http_1_1) {
    ws::Response response;
    response.version = version;
    response.status = status;
    response.fields = fields;
    return ws::check(response, "dGhlIHNhbXBsZSBub25jZQ==", options);
}

START_TEST(a_key_is_16_bytes_in_base64) {
    const auto nonce = bytes_of("the sample nonce");
    ck_assert(ws::make_key(std::span<const uint8_t, 16>(nonce)).view() ==
              "dGhlIHNhbXBsZSBub25jZQ==");
}
END_TEST

START_TEST(a_client_checks_the_response) {
    ck_assert_ptr_null(check(accepted).error);
    ck_assert_ptr_nonnull(check(accepted, {}, 200).error);
    ck_assert_ptr_nonnull(check(without(accepted, "Upgrade")).error);
    ck_assert_ptr_nonnull(check(without(accepted, "Connection")).error);
    ck_assert_ptr_nonnull(check(without(accepted, "Sec-WebSocket-Accept")).error);
    ck_assert_ptr_nonnull(check(with(accepted, "Sec-WebSocket-Accept", "x")).error);
    ck_assert_ptr_nonnull(check(plus(accepted, "Sec-WebSocket-Protocol", "chat")).error);
    ck_assert_ptr_nonnull(
        check(plus(accepted, "Sec-WebSocket-Extensions", "permessage-deflate")).error);
}
END_TEST

START_TEST(a_client_takes_a_subprotocol_it_asked_for) {
    const std::string_view wanted[] = {"chat", "superchat"};
    ws::ClientOptions options;
    options.subprotocols = wanted;
    const auto chosen = check(plus(accepted, "Sec-WebSocket-Protocol", "superchat"), options);
    ck_assert_ptr_null(chosen.error);
    ck_assert(chosen.subprotocol == "superchat");
    ck_assert_ptr_null(check(accepted, options).error);
    ck_assert_ptr_nonnull(check(plus(accepted, "Sec-WebSocket-Protocol", "other"), options).error);
    ck_assert_ptr_nonnull(
        check(plus(accepted, "Sec-WebSocket-Protocol", "chat, superchat"), options).error);
}
END_TEST

START_TEST(a_client_over_http_2_needs_no_key) {
    ck_assert_ptr_null(check({}, {}, 200, Request::Version::http_2).error);
    ck_assert_ptr_nonnull(check({}, {}, 403, Request::Version::http_2).error);
}
END_TEST

int main() {
    return run_suite(
        "handshake",
        {the_example_of_the_rfc, names_and_tokens_in_any_case_and_lists, requests_that_are_refused,
         refusals_say_what_would_be_right, subprotocols_are_the_servers_choice,
         compression_is_negotiated, too_many_fields_are_refused, extended_connect_of_http_2,
         a_key_is_16_bytes_in_base64, a_client_checks_the_response,
         a_client_takes_a_subprotocol_it_asked_for, a_client_over_http_2_needs_no_key});
}
