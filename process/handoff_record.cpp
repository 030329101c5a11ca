// SPDX-License-Identifier: BSD-3-Clause
// The hand-off record: encoder, decoder and its checks.
#include "process/handoff_record.h"

#include <cstring>
#include <utility>

#include "process/handoff_fields.h"

namespace process {
namespace {

constexpr std::uint8_t magic[4] = {'L', 'F', 'D', 'T'};

template <typename Unsigned>
void put(std::uint8_t* at, Unsigned value) {
    for (std::size_t i = 0; i < sizeof value; ++i) at[i] = std::uint8_t(value >> (8 * i));
}

template <typename Unsigned>
Unsigned get(const std::uint8_t* at) {
    Unsigned value = 0;
    for (std::size_t i = 0; i < sizeof value; ++i) value |= Unsigned(Unsigned(at[i]) << (8 * i));
    return value;
}

bool known_kind(std::uint8_t kind) {
    return kind >= std::uint8_t(HandoffKind::request) &&
           kind <= std::uint8_t(HandoffKind::done);
}

std::uint16_t allowed_flags(HandoffKind kind) {
    switch (kind) {
        case HandoffKind::request:
            return handoff_in_memfd | handoff_raw_stage | handoff_wants_taken;
        case HandoffKind::return_socket:
            return handoff_in_memfd | handoff_without_socket | handoff_end_connection;
        case HandoffKind::hello:
            return handoff_takes_batches | handoff_says_done;
        default:
            return 0;
    }
}

// `rest`: bytes of the message from this record's header on.
bool lengths_agree(const HandoffRecord& record, std::size_t rest) {
    const std::uint64_t limit = record.in_memfd() ? handoff_memfd_max : handoff_inline_max;
    if (record.data_length > limit || record.fields_length > handoff_fields_max) return false;
    const std::size_t size = record.message_length();
    // Behind it is nothing, or another record.
    if (size > rest || (size < rest && rest - size < handoff_header_size)) return false;
    switch (record.kind) {
        case HandoffKind::request:
            return record.head_length > 0 && record.head_length <= record.data_length;
        case HandoffKind::return_socket:
            return record.head_length == 0;
        default:
            return record.head_length == 0 && record.data_length == 0;
    }
}

std::span<const std::uint8_t> fields_of(const HandoffRecord& record,
                                        std::span<const std::uint8_t> rest) {
    return rest.subspan(handoff_header_size + record.inline_length(), record.fields_length);
}

// The header at the start of `rest`, which may not end with its record.
HandoffError read_header(std::span<const std::uint8_t> rest, HandoffRecord& record) {
    if (rest.size() < handoff_header_size) return HandoffError::short_header;
    if (std::memcmp(rest.data(), magic, sizeof magic) != 0) return HandoffError::bad_magic;
    if (rest[4] != handoff_version) return HandoffError::bad_version;
    if (!known_kind(rest[5])) return HandoffError::bad_kind;

    record = {
        .kind = HandoffKind(rest[5]),
        .flags = get<std::uint16_t>(&rest[6]),
        .id = get<std::uint64_t>(&rest[8]),
        .socket_index = get<std::uint32_t>(&rest[16]),
        .head_length = get<std::uint32_t>(&rest[20]),
        .data_length = get<std::uint32_t>(&rest[24]),
        .fields_length = get<std::uint32_t>(&rest[28]),
    };
    if (record.flags & ~allowed_flags(record.kind)) return HandoffError::bad_flags;
    if (record.in_memfd() && record.without_socket()) return HandoffError::bad_flags;
    if (!lengths_agree(record, rest.size())) return HandoffError::bad_lengths;
    return fields_are_whole(fields_of(record, rest)) ? HandoffError::none : HandoffError::bad_fields;
}

}  // namespace

std::size_t HandoffRecord::fds_expected() const {
    const bool carries_socket = kind == HandoffKind::request || kind == HandoffKind::return_socket;
    return (carries_socket && !without_socket() ? 1 : 0) + (in_memfd() ? 1 : 0);
}

const char* handoff_error_text(HandoffError error) {
    switch (error) {
        case HandoffError::none:
            return "record is good";
        case HandoffError::short_header:
            return "record is shorter than its 32-byte header";
        case HandoffError::bad_magic:
            return "record has the wrong magic (not a hand-off)";
        case HandoffError::bad_version:
            return "record has a version other than 2 (server and worker library differ)";
        case HandoffError::bad_kind:
            return "record is of an unknown kind";
        case HandoffError::bad_flags:
            return "record has flags that its kind does not know";
        case HandoffError::bad_lengths:
            return "record's lengths contradict each other, the message or the limits";
        case HandoffError::bad_fields:
            return "record's optional fields do not end where their section does";
        case HandoffError::missing_fd:
            return "record came without the file descriptors it needs";
        case HandoffError::too_many_fds:
            return "record came with more file descriptors than it needs";
    }
    return "unknown error";
}

void encode_handoff(const HandoffRecord& record, std::span<std::uint8_t, handoff_header_size> out) {
    std::memcpy(out.data(), magic, sizeof magic);
    out[4] = handoff_version;
    out[5] = std::uint8_t(record.kind);
    put(&out[6], record.flags);
    put(&out[8], record.id);
    put(&out[16], record.socket_index);
    put(&out[20], record.head_length);
    put(&out[24], record.data_length);
    put(&out[28], record.fields_length);
}

HandoffError decode_handoff(std::span<const std::uint8_t> message, std::size_t fd_count,
                            HandoffRecord& record) {
    HandoffRecord read;
    if (const HandoffError error = read_header(message, read); error != HandoffError::none)
        return error;
    if (message.size() != read.message_length()) return HandoffError::bad_lengths;
    if (fd_count < read.fds_expected()) return HandoffError::missing_fd;
    if (fd_count > read.fds_expected()) return HandoffError::too_many_fds;
    record = read;
    return HandoffError::none;
}

std::uint64_t handoff_id(std::span<const std::uint8_t, handoff_header_size> header) {
    return get<std::uint64_t>(&header[8]);
}

std::size_t handoff_fds_needed(std::span<const std::uint8_t> message) {
    std::size_t needed = 0;
    for (HandoffRecord record; read_header(message, record) == HandoffError::none;) {
        needed += record.fds_expected();
        message = message.subspan(record.message_length());
    }
    return needed;
}

HandoffError HandoffReader::next(HandoffRecord& record) {
    const std::span<const std::uint8_t> rest = std::exchange(rest_, {});
    HandoffRecord read;
    if (const HandoffError error = read_header(rest, read); error != HandoffError::none)
        return error;
    const std::size_t expected = read.fds_expected();
    data_ = rest.subspan(handoff_header_size, read.inline_length());
    fields_ = fields_of(read, rest);
    const auto behind = rest.subspan(read.message_length());
    if (fds_left_ < expected) return HandoffError::missing_fd;
    if (behind.empty() && fds_left_ > expected) return HandoffError::too_many_fds;
    rest_ = behind;
    fds_left_ -= expected;
    first_fd_ = std::exchange(next_fd_, next_fd_ + expected);
    record = read;
    return HandoffError::none;
}

}  // namespace process
