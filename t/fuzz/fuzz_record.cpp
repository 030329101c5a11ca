// SPDX-License-Identifier: BSD-3-Clause
// Invariant: a record that is accepted is, encoded again, the header it was read from, fits its
// message and the limits, and came with exactly the fds it needs; cut anywhere, lengthened by a
// byte, or with another number of fds it is refused for that reason, and a refusal sets nothing.
// A message read record by record yields records that, each by itself, would be accepted; together
// they are the message and need its fds, unless an error ended the reading.
#include "process/handoff_record.h"
#include "t/fuzz/events.h"

using process::HandoffError;
using process::HandoffRecord;

static const HandoffRecord untouched{
    .kind = process::HandoffKind::taken, .flags = 99, .id = 1, .data_length = 2};

// The verdict on bytes in memory of exactly their size.
static HandoffError decode(std::span<const uint8_t> message, size_t fds, HandoffRecord& record) {
    const auto copy = std::make_unique<uint8_t[]>(message.size());
    std::copy(message.begin(), message.end(), copy.get());
    record = untouched;
    const HandoffError error = decode_handoff({copy.get(), message.size()}, fds, record);
    fuzz::require((error == HandoffError::none) != (record == untouched));
    fuzz::require(*handoff_error_text(error) != '\0');
    return error;
}

static void check_lengths(std::span<const uint8_t> message, size_t fds) {
    HandoffRecord ignored;
    for (size_t size = 0; size < message.size(); ++size)
        fuzz::require(decode(message.first(size), fds, ignored) ==
                      (size < process::handoff_header_size ? HandoffError::short_header
                                                           : HandoffError::bad_lengths));
    std::string longer = fuzz::text_of(message) + '\0';
    fuzz::require(decode({reinterpret_cast<const uint8_t*>(longer.data()), longer.size()}, fds,
                         ignored) == HandoffError::bad_lengths);
}

static void check_record(std::span<const uint8_t> message, size_t fds,
                         const HandoffRecord& record) {
    fuzz::require(message.size() == record.message_length());
    fuzz::require(message.size() <= process::handoff_message_max);
    fuzz::require(record.data_length <= process::handoff_memfd_max);
    fuzz::require(record.fields_length <= process::handoff_fields_max);
    fuzz::require(record.head_length <= record.data_length);
    fuzz::require(fds == record.fds_expected() && fds <= process::handoff_fds_max);

    std::array<uint8_t, process::handoff_header_size> header;
    encode_handoff(record, header);
    fuzz::require(std::equal(header.begin(), header.end(), message.begin()));
}

static void check_reader(std::span<const uint8_t> message, size_t fds, HandoffError alone) {
    process::HandoffReader reader(message, fds);
    size_t at = 0, fd = 0, count = 0;
    HandoffError error;
    do {
        HandoffRecord record = untouched, again;
        error = reader.next(record);
        if (error != HandoffError::none) {
            fuzz::require(record == untouched && reader.done());
            break;
        }
        const size_t size = record.message_length();
        fuzz::require(reader.first_fd() == fd && size <= message.size() - at);
        fuzz::require(decode(message.subspan(at, size), record.fds_expected(), again) ==
                      HandoffError::none);
        fuzz::require(again == record);
        at += size, fd += record.fds_expected(), ++count;
    } while (!reader.done());
    fuzz::require(error != HandoffError::none || (at == message.size() && fd == fds));
    fuzz::require(process::handoff_fds_needed(message) >= fd);
    fuzz::require(error != HandoffError::none || process::handoff_fds_needed(message) == fds);
    fuzz::require((alone == HandoffError::none) == (error == HandoffError::none && count == 1));
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 1) return 0;
    const size_t fds = data[0] % 5;
    const std::span<const uint8_t> message(data + 1, size - 1);
    HandoffRecord record, again;
    const HandoffError error = decode(message, fds, record);
    fuzz::require(decode(message, fds, again) == error && again == record);
    check_reader(message, fds, error);
    if (error != HandoffError::none) return 0;

    check_record(message, fds, record);
    check_lengths(message, fds);
    fuzz::require(decode(message, fds + 1, again) == HandoffError::too_many_fds);
    if (fds > 0) fuzz::require(decode(message, fds - 1, again) == HandoffError::missing_fd);
    return 0;
}
