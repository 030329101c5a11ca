// SPDX-License-Identifier: BSD-3-Clause
// Offers and answers of permessage-deflate, from text and to text.
#include "ws/extension.h"

#include <algorithm>

#include "ws/http_fields.h"

namespace ws {
namespace {

constexpr std::string_view extension_name = "permessage-deflate";
constexpr uint8_t max_bits = 15;

// The parameters of one permessage-deflate in a field. In an offer client_max_window_bits may come
// without a value; then it is only a hint that the client can be bounded (7.1.2.2).
struct Parsed {
    DeflateParameters parameters;
    bool has_server_bits = false;
    bool has_client_bits = false;
    bool acceptable = true;  // each parameter is known, comes once and has a value it may have
};

// A number of bits: 8 to 15 in decimal, without leading zeros. 0 if it is not one.
uint8_t parse_bits(std::string_view text) {
    if (text.size() == 1 && (text[0] == '8' || text[0] == '9')) return text[0] - '0';
    if (text.size() == 2 && text[0] == '1' && text[1] >= '0' && text[1] <= '5')
        return 10 + (text[1] - '0');
    return 0;
}

bool set_flag(bool& flag, bool has_value) {
    const bool acceptable = !flag && !has_value;
    flag = true;
    return acceptable;
}

bool set_bits(uint8_t& bits, bool& seen, bool has_value, std::string_view value) {
    const bool acceptable = !seen && has_value && parse_bits(value) != 0;
    seen = true;
    if (acceptable) bits = parse_bits(value);
    return acceptable;
}

// Enters a parameter and says whether it is acceptable.
bool enter(Parsed& parsed, bool is_offer, std::string_view name, bool has_value,
           std::string_view value) {
    DeflateParameters& p = parsed.parameters;
    if (name == "server_no_context_takeover")
        return set_flag(p.server_no_context_takeover, has_value);
    if (name == "client_no_context_takeover")
        return set_flag(p.client_no_context_takeover, has_value);
    if (name == "server_max_window_bits")
        return set_bits(p.server_max_window_bits, parsed.has_server_bits, has_value, value);
    if (name != "client_max_window_bits") return false;
    if (is_offer && !has_value) return set_flag(parsed.has_client_bits, false);
    return set_bits(p.client_max_window_bits, parsed.has_client_bits, has_value, value);
}

// Reads `; name`, `; name=value` and so on to the end of `scanner`. False if it is not of that
// form.
bool parse_parameters(FieldScanner& scanner, bool is_offer, Parsed& parsed) {
    while (!scanner.at_end()) {
        if (!scanner.skip(';')) return false;
        const auto name = scanner.token();
        if (name.empty()) return false;
        Text<64> value;
        const bool has_value = scanner.skip('=');
        if (has_value && !scanner.token_or_quoted(value)) return false;
        if (!enter(parsed, is_offer, name, has_value, value)) parsed.acceptable = false;
    }
    return true;
}

// Calls visit(name, parsed) for each extension in `values` until it returns false. False if a value
// is not a list of extensions (RFC 6455 9.1).
template <class Visit>
bool for_each_extension(std::span<const std::string_view> values, bool is_offer, Visit visit) {
    bool wanted = true;
    for (const auto value : values) {
        FieldScanner list(value);
        while (!list.at_end()) {
            const auto member = list.list_member();
            if (member.empty()) continue;  // RFC 9110 5.6.1.2
            FieldScanner scanner(member);
            const auto name = scanner.token();
            Parsed parsed;
            if (name.empty() || !parse_parameters(scanner, is_offer, parsed)) return false;
            wanted = wanted && visit(name, parsed);
        }
    }
    return true;
}

void append_bits(ExtensionText& text, std::string_view name, uint8_t bits) {
    text.append("; ");
    text.append(name);
    text.append("=");
    if (bits >= 10) text.append("1");
    const char digit = static_cast<char>('0' + bits % 10);
    text.append({&digit, 1});
}

void append_flags(ExtensionText& text, const DeflateParameters& p) {
    if (p.server_no_context_takeover) text.append("; server_no_context_takeover");
    if (p.client_no_context_takeover) text.append("; client_no_context_takeover");
}

// What comes of an offer under a policy, and the text that says so.
void agree(const Parsed& offer, const DeflateParameters& policy, DeflateNegotiation& outcome) {
    DeflateParameters p = offer.parameters;
    p.server_no_context_takeover |= policy.server_no_context_takeover;
    p.client_no_context_takeover |= policy.client_no_context_takeover;
    p.server_max_window_bits = std::min(p.server_max_window_bits, policy.server_max_window_bits);
    if (offer.has_client_bits)
        p.client_max_window_bits =
            std::min(p.client_max_window_bits, policy.client_max_window_bits);
    outcome.agreed = p;
    outcome.response.append(extension_name);
    append_flags(outcome.response, p);
    if (offer.has_server_bits || p.server_max_window_bits < max_bits)
        append_bits(outcome.response, "server_max_window_bits", p.server_max_window_bits);
    if (offer.has_client_bits && p.client_max_window_bits < max_bits)
        append_bits(outcome.response, "client_max_window_bits", p.client_max_window_bits);
}

}  // namespace

DeflateNegotiation negotiate_deflate(std::span<const std::string_view> offers,
                                     const std::optional<DeflateParameters>& policy) {
    DeflateNegotiation outcome;
    outcome.valid =
        for_each_extension(offers, true, [&](std::string_view name, const Parsed& offer) {
            if (!policy || name != extension_name || !offer.acceptable) return true;
            agree(offer, *policy, outcome);
            return false;
        });
    if (!outcome.valid) outcome = {.valid = false, .agreed = {}, .response = {}};
    return outcome;
}

ExtensionText make_deflate_offer(const DeflateParameters& wish) {
    ExtensionText text;
    text.append(extension_name);
    append_flags(text, wish);
    if (wish.server_max_window_bits < max_bits)
        append_bits(text, "server_max_window_bits", wish.server_max_window_bits);
    if (wish.client_max_window_bits < max_bits)
        append_bits(text, "client_max_window_bits", wish.client_max_window_bits);
    else
        text.append("; client_max_window_bits");
    return text;
}

DeflateNegotiation check_deflate_response(std::span<const std::string_view> responses,
                                          const std::optional<DeflateParameters>& wish) {
    DeflateNegotiation outcome;
    const bool well_formed =
        for_each_extension(responses, false, [&](std::string_view name, const Parsed& response) {
            const DeflateParameters& p = response.parameters;
            const bool granted = wish && name == extension_name && response.acceptable &&
                                 !outcome.agreed &&
                                 p.server_no_context_takeover >= wish->server_no_context_takeover &&
                                 p.server_max_window_bits <= wish->server_max_window_bits;
            outcome.valid = granted;
            if (!granted) return false;
            outcome.agreed = p;
            // Our own promises bind us whether or not they are repeated to us.
            outcome.agreed->client_no_context_takeover |= wish->client_no_context_takeover;
            outcome.agreed->client_max_window_bits =
                std::min(p.client_max_window_bits, wish->client_max_window_bits);
            return true;
        });
    outcome.valid = outcome.valid && well_formed;
    if (!outcome.valid) outcome.agreed.reset();
    return outcome;
}

}  // namespace ws
