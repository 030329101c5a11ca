// SPDX-License-Identifier: BSD-3-Clause
// The optional fields of a hand-off record.
#include "process/handoff_fields.h"

#include <cassert>
#include <cstring>

namespace process {
namespace {

constexpr std::size_t prefix_size = 4;  // bytes of type and length

std::uint16_t get16(const std::uint8_t* at) { return std::uint16_t(at[0] | at[1] << 8); }

void put16(std::uint8_t* at, std::uint16_t value) {
    at[0] = std::uint8_t(value);
    at[1] = std::uint8_t(value >> 8);
}

}  // namespace

std::optional<std::uint64_t> FieldReader::Field::number() const {
    if (value.empty() || value.size() > sizeof(std::uint64_t)) return std::nullopt;
    std::uint64_t number = 0;
    for (std::size_t i = 0; i < value.size(); ++i) number |= std::uint64_t(value[i]) << (8 * i);
    return number;
}

std::optional<FieldReader::Field> FieldReader::next() {
    if (rest_.size() < prefix_size) return std::nullopt;
    const std::size_t length = get16(&rest_[2]);
    if (rest_.size() - prefix_size < length) return std::nullopt;
    const Field field{HandoffField(get16(&rest_[0])), rest_.subspan(prefix_size, length)};
    rest_ = rest_.subspan(prefix_size + length);
    return field;
}

bool fields_are_whole(std::span<const std::uint8_t> fields) {
    FieldReader reader(fields);
    while (reader.next()) {
    }
    return reader.at_end();
}

bool FieldWriter::add(HandoffField type, std::span<const std::uint8_t> value) {
    if (value.size() > UINT16_MAX || sizeof(buffer_) - size_ < prefix_size + value.size())
        return false;
    put16(&buffer_[size_], std::uint16_t(type));
    put16(&buffer_[size_ + 2], std::uint16_t(value.size()));
    if (!value.empty()) std::memcpy(&buffer_[size_ + prefix_size], value.data(), value.size());
    size_ += prefix_size + value.size();
    return true;
}

bool FieldWriter::add(HandoffField type, std::string_view text) {
    return add(type, std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()));
}

bool FieldWriter::add(HandoffField type, std::uint64_t number, std::size_t width) {
    assert(width >= 1 && width <= sizeof(number));
    std::uint8_t bytes[sizeof(number)];
    for (std::size_t i = 0; i < width; ++i) bytes[i] = std::uint8_t(number >> (8 * i));
    return add(type, std::span(bytes).first(width));
}

}  // namespace process
