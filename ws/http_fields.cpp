// SPDX-License-Identifier: BSD-3-Clause
// Tokens, quoted strings and comma-separated lists.
#include "ws/http_fields.h"

#include <algorithm>

namespace ws {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool is_alphanumeric(char c) {
    return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9');
}

bool is_token_character(char c) {
    return is_alphanumeric(c) ||
           (c != '\0' && std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos);
}

bool is_blank(char c) { return c == ' ' || c == '\t'; }

}  // namespace

bool equal_ignoring_case(std::string_view a, std::string_view b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](char x, char y) { return lower(x) == lower(y); });
}

bool is_token(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), is_token_character);
}

FieldValues::FieldValues(std::span<const Field> fields, std::string_view name) {
    for (const Field& field : fields) {
        if (!equal_ignoring_case(field.name, name)) continue;
        too_many_ = size_ == capacity;
        if (too_many_) return;
        values_[size_++] = field.value;
    }
}

bool FieldValues::list_has(std::string_view token) const {
    for (size_t i = 0; i < size_; i++) {
        FieldScanner scanner(values_[i]);
        while (!scanner.at_end())
            if (equal_ignoring_case(scanner.list_member(), token)) return true;
    }
    return false;
}

void FieldScanner::skip_blanks() {
    while (!rest_.empty() && is_blank(rest_.front())) rest_.remove_prefix(1);
}

bool FieldScanner::at_end() {
    skip_blanks();
    return rest_.empty();
}

bool FieldScanner::skip(char separator) {
    skip_blanks();
    if (rest_.empty() || rest_.front() != separator) return false;
    rest_.remove_prefix(1);
    return true;
}

std::string_view FieldScanner::token() {
    skip_blanks();
    const auto end = std::find_if_not(rest_.begin(), rest_.end(), is_token_character);
    const auto found = rest_.substr(0, end - rest_.begin());
    rest_.remove_prefix(found.size());
    return found;
}

bool FieldScanner::token_or_quoted(Text<64>& value) {
    value = {};
    if (!skip('"')) {
        const auto plain = token();
        return !plain.empty() && value.append(plain);
    }
    while (!rest_.empty() && rest_.front() != '"') {
        if (rest_.front() == '\\') rest_.remove_prefix(1);
        if (rest_.empty() || !value.append(rest_.substr(0, 1))) return false;
        rest_.remove_prefix(1);
    }
    return skip('"') && is_token(value);
}

std::string_view FieldScanner::list_member() {
    skip_blanks();
    bool quoted = false;
    size_t end = 0;
    for (; end < rest_.size() && (quoted || rest_[end] != ','); end++) {
        if (rest_[end] == '"') quoted = !quoted;
        if (quoted && rest_[end] == '\\' && end + 1 < rest_.size()) end++;
    }
    auto member = rest_.substr(0, end);
    rest_.remove_prefix(std::min(end + 1, rest_.size()));
    while (!member.empty() && is_blank(member.back())) member.remove_suffix(1);
    return member;
}

}  // namespace ws
