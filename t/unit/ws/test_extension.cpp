// SPDX-License-Identifier: BSD-3-Clause
// The negotiation of permessage-deflate (RFC 7692 section 7.1), both ends.
#include "ws/extension.h"

#include "suite.h"

using ws::DeflateParameters;

static constexpr DeflateParameters generous;

static ws::DeflateNegotiation negotiate(std::string_view offer,
                                        const std::optional<DeflateParameters>& policy = generous) {
    return ws::negotiate_deflate({&offer, 1}, policy);
}

static void expect_response(std::string_view offer, const std::optional<DeflateParameters>& policy,
                            std::string_view response) {
    const auto outcome = negotiate(offer, policy);
    const auto text = outcome.response.view();
    ck_assert_msg(outcome.valid && text == response, "%.*s was answered by: %.*s",
                  int(offer.size()), offer.data(), int(text.size()), text.data());
    ck_assert(outcome.agreed.has_value() != response.empty());
}

START_TEST(an_offer_is_accepted_as_it_is) {
    expect_response("permessage-deflate", generous, "permessage-deflate");
    expect_response("permessage-deflate; client_max_window_bits", generous, "permessage-deflate");
    expect_response("permessage-deflate; server_no_context_takeover", generous,
                    "permessage-deflate; server_no_context_takeover");
    expect_response("permessage-deflate; client_no_context_takeover", generous,
                    "permessage-deflate; client_no_context_takeover");
    expect_response("permessage-deflate; server_max_window_bits=10", generous,
                    "permessage-deflate; server_max_window_bits=10");
    expect_response("permessage-deflate; client_max_window_bits=10", generous,
                    "permessage-deflate; client_max_window_bits=10");
    expect_response(
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
        "server_max_window_bits=8; client_max_window_bits=9",
        generous,
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
        "server_max_window_bits=8; client_max_window_bits=9");
}
END_TEST

START_TEST(the_policy_is_insisted_on) {
    const DeflateParameters strict = {true, true, 11, 12};
    expect_response("permessage-deflate; client_max_window_bits", strict,
                    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
                    "server_max_window_bits=11; client_max_window_bits=12");
    // The smaller of two bounds holds.
    expect_response("permessage-deflate; client_max_window_bits=9; server_max_window_bits=15",
                    strict,
                    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
                    "server_max_window_bits=11; client_max_window_bits=9");
}
END_TEST

START_TEST(a_client_that_cannot_be_bounded_is_not) {
    const DeflateParameters bounded = {false, false, 15, 10};
    expect_response("permessage-deflate", bounded, "permessage-deflate");
    ck_assert_uint_eq(negotiate("permessage-deflate", bounded).agreed->client_max_window_bits, 15);
}
END_TEST

START_TEST(no_policy_is_no_compression) { expect_response("permessage-deflate", std::nullopt, ""); }
END_TEST

START_TEST(the_first_offer_that_can_be_had_is) {
    expect_response(
        "permessage-deflate; server_max_window_bits=7, permessage-deflate; "
        "server_max_window_bits=12, permessage-deflate",
        generous, "permessage-deflate; server_max_window_bits=12");
    expect_response("x-webkit-deflate-frame, permessage-deflate", generous, "permessage-deflate");
    const std::string_view fields[] = {"something; else=1", " permessage-deflate "};
    ck_assert(ws::negotiate_deflate(fields, generous).agreed.has_value());
}
END_TEST

START_TEST(parameters_that_are_not_right_decline_the_offer) {
    for (const auto* parameters : {"unknown", "server_max_window_bits", "server_max_window_bits=7",
                                   "server_max_window_bits=16", "server_max_window_bits=08",
                                   "server_max_window_bits=1x", "client_max_window_bits=0",
                                   "client_max_window_bits=150", "server_no_context_takeover=true",
                                   "client_no_context_takeover; client_no_context_takeover",
                                   "server_max_window_bits=10; server_max_window_bits=10",
                                   "client_max_window_bits; client_max_window_bits=10"})
        expect_response("permessage-deflate; " + std::string(parameters), generous, "");
}
END_TEST

START_TEST(values_may_be_quoted) {
    expect_response("permessage-deflate; server_max_window_bits=\"10\"", generous,
                    "permessage-deflate; server_max_window_bits=10");
    expect_response("permessage-deflate;server_max_window_bits=\"1\\0\"", generous,
                    "permessage-deflate; server_max_window_bits=10");
    expect_response("other; with=\"ab\"", generous, "");
}
END_TEST

START_TEST(what_is_not_a_list_of_extensions_is_invalid) {
    for (const auto* text : {"=", ";", "permessage-deflate;", "permessage-deflate; =1",
                             "permessage-deflate; a=", "permessage-deflate; a=\"", "a b",
                             "permessage-deflate; a=\"b c\"", "permessage-deflate; a=\"b,c\"",
                             "permessage-deflate, ;", "\"a\""})
        ck_assert_msg(!negotiate(text).valid, "%s", text);
    ck_assert(negotiate(" , ,permessage-deflate,").agreed.has_value());
}
END_TEST

// ---- Client

static ws::DeflateNegotiation check(std::string_view response,
                                    const std::optional<DeflateParameters>& wish = generous) {
    return ws::check_deflate_response({&response, 1}, wish);
}

START_TEST(a_client_offers_what_it_wishes) {
    ck_assert(ws::make_deflate_offer({}).view() == "permessage-deflate; client_max_window_bits");
    ck_assert(ws::make_deflate_offer({true, true, 9, 10}).view() ==
              "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
              "server_max_window_bits=9; client_max_window_bits=10");
}
END_TEST

START_TEST(a_client_takes_what_it_offered) {
    ck_assert(check("permessage-deflate").agreed == DeflateParameters{});
    const DeflateParameters all = {true, true, 9, 10};
    ck_assert(check("permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
                    "server_max_window_bits=9; client_max_window_bits=10")
                  .agreed == all);
    ck_assert(!ws::check_deflate_response({}, generous).agreed);
    ck_assert(ws::check_deflate_response({}, generous).valid);
}
END_TEST

START_TEST(a_client_keeps_its_own_promises) {
    const DeflateParameters wish = {false, true, 15, 10};
    ck_assert(check("permessage-deflate", wish).agreed == wish);
}
END_TEST

START_TEST(a_client_refuses_what_it_did_not_offer) {
    const DeflateParameters wish = {true, false, 10, 15};
    ck_assert(!check("permessage-deflate", wish).valid);  // without what was required
    ck_assert(!check("permessage-deflate; server_no_context_takeover", wish).valid);
    ck_assert(
        check("permessage-deflate; server_no_context_takeover; server_max_window_bits=10", wish)
            .valid);
    ck_assert(!check("permessage-deflate", std::nullopt).valid);
    ck_assert(!check("other").valid);
    ck_assert(!check("permessage-deflate; unknown").valid);
    ck_assert(!check("permessage-deflate; client_max_window_bits").valid);  // needs a value here
    ck_assert(!check("permessage-deflate, permessage-deflate").valid);
    ck_assert(!check("permessage-deflate;").valid);
}
END_TEST

START_TEST(both_ends_agree_whatever_they_want) {
    for (int server = 0; server < 4; server++)
        for (int client = 0; client < 4; client++)
            for (uint8_t a = 8; a <= 15; a++)
                for (uint8_t b = 8; b <= 15; b++) {
                    const DeflateParameters policy = {bool(server & 1), bool(server & 2), a, b};
                    const DeflateParameters wish = {bool(client & 1), bool(client & 2), b, a};
                    const auto outcome = negotiate(ws::make_deflate_offer(wish), policy);
                    ck_assert(outcome.agreed.has_value());
                    const auto seen = check(outcome.response, wish);
                    ck_assert(seen.valid && seen.agreed == outcome.agreed);
                }
}
END_TEST

int main() {
    return run_suite("extension",
                     {an_offer_is_accepted_as_it_is, the_policy_is_insisted_on,
                      a_client_that_cannot_be_bounded_is_not, no_policy_is_no_compression,
                      the_first_offer_that_can_be_had_is,
                      parameters_that_are_not_right_decline_the_offer, values_may_be_quoted,
                      what_is_not_a_list_of_extensions_is_invalid, a_client_offers_what_it_wishes,
                      a_client_takes_what_it_offered, a_client_keeps_its_own_promises,
                      a_client_refuses_what_it_did_not_offer, both_ends_agree_whatever_they_want});
}
