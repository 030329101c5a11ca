// SPDX-License-Identifier: BSD-3-Clause
// The hand-off record: encoder, decoder and its checks.
#include "process/handoff_record.h"

#include <cstring>

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
           kind <= std::uint8_t(HandoffKind::return_socket);
}

std::uint16_t allowed_flags(HandoffKind kind) {
    switch (kind) {
        case HandoffKind::request:
            return handoff_in_memfd | handoff_raw_stage | handoff_wants_taken;
        case HandoffKind::return_socket:
            return handoff_in_memfd | handoff_without_socket;
        default:
            return 0;
    }
}

bool lengths_agree(const HandoffRecord& record, std::size_t message_size) {
    const std::uint64_t limit = record.in_memfd() ? handoff_memfd_max : handoff_inline_max;
    if (record.data_length > limit) return false;
    if (message_size != handoff_header_size + record.inline_length()) return false;
    switch (record.kind) {
        case HandoffKind::request:
            return record.head_length > 0 && record.head_length <= record.data_length;
        case HandoffKind::return_socket:
            return record.head_length == 0;
        default:
            return record.head_length == 0 && record.data_length == 0;
    }
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
            return "record has a version other than 1 (server and worker library differ)";
        case HandoffError::bad_kind:
            return "record is of an unknown kind";
        case HandoffError::bad_flags:
            return "record has flags that its kind does not know";
        case HandoffError::bad_lengths:
            return "record's lengths contradict each other, the message or the limits";
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
}

HandoffError decode_handoff(std::span<const std::uint8_t> message, std::size_t fd_count,
                            HandoffRecord& record) {
    if (message.size() < handoff_header_size) return HandoffError::short_header;
    if (std::memcmp(message.data(), magic, sizeof magic) != 0) return HandoffError::bad_magic;
    if (message[4] != handoff_version) return HandoffError::bad_version;
    if (!known_kind(message[5])) return HandoffError::bad_kind;

    const HandoffRecord read{
        .kind = HandoffKind(message[5]),
        .flags = get<std::uint16_t>(&message[6]),
        .id = get<std::uint64_t>(&message[8]),
        .socket_index = get<std::uint32_t>(&message[16]),
        .head_length = get<std::uint32_t>(&message[20]),
        .data_length = get<std::uint64_t>(&message[24]),
    };
    if (read.flags & ~allowed_flags(read.kind)) return HandoffError::bad_flags;
    if (read.in_memfd() && read.without_socket()) return HandoffError::bad_flags;
    if (!lengths_agree(read, message.size())) return HandoffError::bad_lengths;
    if (fd_count < read.fds_expected()) return HandoffError::missing_fd;
    if (fd_count > read.fds_expected()) return HandoffError::too_many_fds;
    record = read;
    return HandoffError::none;
}

}  // namespace process
