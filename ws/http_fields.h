// SPDX-License-Identifier: BSD-3-Clause
// The small part of HTTP's field syntax that a handshake needs (RFC 9110 sections 5.6.1 to 5.6.6).
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string_view>

#include "ws/text.h"

namespace ws {

/// A header field; names compare without regard to case. Values come without the blanks around
/// them.
struct Field {
    std::string_view name;
    std::string_view value;
};

bool equal_ignoring_case(std::string_view a, std::string_view b);

/// Whether `text` is a token: not empty, and without separators or controls.
bool is_token(std::string_view text);

/// The values of all fields called `name`, in their order. More than `capacity` make it invalid.
class FieldValues {
  public:
    static constexpr size_t capacity = 16;

    FieldValues(std::span<const Field> fields, std::string_view name);

    bool too_many() const { return too_many_; }
    size_t size() const { return size_; }
    std::string_view operator[](size_t i) const { return values_[i]; }
    operator std::span<const std::string_view>() const { return {values_.data(), size_}; }

    /// Whether a comma-separated list in these values has the member `token`, in any case.
    bool list_has(std::string_view token) const;

  private:
    std::array<std::string_view, capacity> values_;
    size_t size_ = 0;
    bool too_many_ = false;
};

/// Reads a field value from its front. Each function skips blanks first.
class FieldScanner {
  public:
    explicit FieldScanner(std::string_view text) : rest_(text) {}

    bool at_end();
    /// Takes `separator` if it comes next.
    bool skip(char separator);
    /// Takes the characters of a token; empty if none comes next.
    std::string_view token();
    /// Takes a token or a quoted string that holds a token (RFC 6455 9.1). False if neither comes
    /// next, or if it is longer than any parameter we know.
    bool token_or_quoted(Text<64>& value);
    /// Takes what comes before the next comma outside of quotes, and the comma.
    std::string_view list_member();

  private:
    void skip_blanks();

    std::string_view rest_;
};

}  // namespace ws
