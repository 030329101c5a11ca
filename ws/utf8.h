// SPDX-License-Identifier: BSD-3-Clause
// UTF-8 validation of a text that arrives in pieces cut anywhere (RFC 3629, RFC 6455 section 8.1).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace ws {

/// Fails at the first byte that no valid text can have at its place: surrogates, overlong forms and
/// values above U+10FFFF are seen at their second byte, not at the end of the sequence.
class Utf8Validator {
  public:
    /// How many bytes of `piece`, from its front, continue the text validly: piece.size() if all
    /// do, otherwise the index of the first impossible byte. After a failure: reset().
    size_t check(std::span<const uint8_t> piece);

    /// Whether the text may end here, that is, not inside a character.
    bool complete() const { return missing_ == 0; }

    void reset() { *this = {}; }

  private:
    bool step(uint8_t byte);

    uint8_t missing_ = 0;  // continuation bytes the current character still needs
    uint8_t lowest_ = 0;   // bounds of the next of them
    uint8_t highest_ = 0;
};

/// Whether `text` is valid UTF-8 from its beginning to its end.
inline bool valid_utf8(std::span<const uint8_t> text) {
    Utf8Validator validator;
    return validator.check(text) == text.size() && validator.complete();
}

}  // namespace ws
