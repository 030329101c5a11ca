// SPDX-License-Identifier: BSD-3-Clause
// The optional fields of a hand-off record: what the server knows of the client, and what a worker
// says of its answer. A field is a type and a length (16 bits each, little-endian) and that many
// bytes. Receivers skip types they do not know, so that new ones can be added. Each type stands at
// most once; if it does not, the last one counts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "process/handoff_record.h"

namespace process {

enum class HandoffField : std::uint16_t {
    // Of a request, from the server. What the server does not know is absent.
    client_address = 1,  // text, as mod_extforward or the PROXY protocol have corrected it
    client_port = 2,     // 16 bits
    scheme = 3,          // text: "http" or "https", as the client sees it
    user = 4,            // text: whom mod_auth has authenticated
    body_limit = 5,      // 64 bits: bytes of body that the server would accept; absent: any number
    // Of `done` and of a return, from the worker.
    status = 16,  // 16 bits: of HTTP
    bytes = 17,   // 64 bits: bytes of the response after its head, as they were written
    // 32 to 63 are reserved for TLS.
};

// Reads fields one by one.
class FieldReader {
  public:
    struct Field {
        HandoffField type;  // any value
        std::span<const std::uint8_t> value;

        std::string_view text() const {
            return {reinterpret_cast<const char*>(value.data()), value.size()};
        }
        // Little-endian; nothing if it has more than 8 bytes, or none.
        std::optional<std::uint64_t> number() const;
    };

    // `fields` must stay where they are.
    explicit FieldReader(std::span<const std::uint8_t> fields) : rest_(fields) {}
    // The next one; nothing at the end, and where the rest is no whole field.
    std::optional<Field> next();
    // Whether all has been read.
    bool at_end() const { return rest_.empty(); }

  private:
    std::span<const std::uint8_t> rest_;
};

// Whether the last field ends where the section does.
bool fields_are_whole(std::span<const std::uint8_t> fields);

// Collects the fields of one record.
class FieldWriter {
  public:
    // False, and nothing happens, if there is no room for it or it is longer than a field may be.
    bool add(HandoffField type, std::span<const std::uint8_t> value);
    bool add(HandoffField type, std::string_view text);
    // `width`: bytes of the number, 1 to 8.
    bool add(HandoffField type, std::uint64_t number, std::size_t width);

    std::span<const std::uint8_t> fields() const { return std::span(buffer_).first(size_); }

  private:
    std::uint8_t buffer_[handoff_fields_max];  // only the first `size_` bytes mean anything
    std::size_t size_ = 0;
};

}  // namespace process
