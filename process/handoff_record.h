// SPDX-License-Identifier: BSD-3-Clause
// The record that carries a client's socket between server and worker: its layout, encoder and
// decoder. A SOCK_SEQPACKET message holds one record, or several: a batch. doc/handoff-record.md
// has the byte table, t/unit/record/vectors.txt the test vectors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace process {

inline constexpr std::size_t handoff_header_size = 32;    // bytes
inline constexpr std::size_t handoff_inline_max = 65536;  // bytes of data that travel in the record
inline constexpr std::size_t handoff_fields_max = 4096;   // bytes of optional fields
inline constexpr std::uint64_t handoff_memfd_max = 1u << 30;  // bytes of data in a memfd: 1 GiB
inline constexpr std::size_t handoff_message_max =
    handoff_header_size + handoff_inline_max + handoff_fields_max;
inline constexpr std::size_t handoff_fds_max = 2;     // the client's socket, then the memfd
inline constexpr std::size_t handoff_batch_max = 32;  // requests in a message
inline constexpr std::uint8_t handoff_version = 2;

enum class HandoffKind : std::uint8_t {
    request = 1,        // server to worker: a client's socket and what was read from it
    hello = 2,          // worker to server, once: this worker says `taken`
    taken = 3,          // worker to server: the answer has begun, forget your duplicate
    return_socket = 4,  // worker to server: the response is out, go on with this connection
    done = 5,           // worker to server: the answer has ended, and what the log should say of it
};

// Bits of HandoffRecord::flags. All others must be zero.
inline constexpr std::uint16_t handoff_in_memfd = 1 << 0;     // data are in a memfd, the second fd
inline constexpr std::uint16_t handoff_raw_stage = 1 << 1;    // access control has not run
inline constexpr std::uint16_t handoff_wants_taken = 1 << 2;  // server waits for `taken`
// No socket comes with a return: the server still has its own, since it waits for `taken`.
inline constexpr std::uint16_t handoff_without_socket = 1 << 3;
// In `hello`: this worker takes several requests in one message.
inline constexpr std::uint16_t handoff_takes_batches = 1 << 4;
// In a return: read no further request, but end the connection, lingering until the client has had
// the answer.
inline constexpr std::uint16_t handoff_end_connection = 1 << 5;
// In `hello`: this worker says `done` (or returns the connection) at the end of every answer.
inline constexpr std::uint16_t handoff_says_done = 1 << 6;

// The header in host order. Behind it in the message come the data, unless they are in the memfd, and
// then the optional fields (process/handoff_fields.h).
struct HandoffRecord {
    HandoffKind kind = HandoffKind::request;
    std::uint16_t flags = 0;
    std::uint64_t id = 0;            // of the hand-off; 0 in `hello`
    std::uint32_t socket_index = 0;  // of the server's listening socket; returned unchanged
    // request: bytes of the request line and header fields with the empty line that ends them;
    // what follows them in the data is body, or pipelined requests. 0 in the other kinds.
    std::uint32_t head_length = 0;
    std::uint32_t data_length = 0;    // bytes
    std::uint32_t fields_length = 0;  // bytes

    bool in_memfd() const { return flags & handoff_in_memfd; }
    bool raw_stage() const { return flags & handoff_raw_stage; }
    bool wants_taken() const { return flags & handoff_wants_taken; }
    bool without_socket() const { return flags & handoff_without_socket; }
    bool takes_batches() const { return flags & handoff_takes_batches; }
    bool ends_connection() const { return flags & handoff_end_connection; }
    bool says_done() const { return flags & handoff_says_done; }
    std::size_t inline_length() const { return in_memfd() ? 0 : std::size_t(data_length); }
    // Bytes of its message, or of its part of a batch.
    std::size_t message_length() const {
        return handoff_header_size + inline_length() + fields_length;
    }

    // How many fds travel with a record of this kind and these flags.
    std::size_t fds_expected() const;

    bool operator==(const HandoffRecord&) const = default;
};

// What is wrong with a record, in the order in which decode_handoff() looks.
enum class HandoffError : std::uint8_t {
    none,
    short_header,  // less than a header
    bad_magic,     // not "LFDT"
    bad_version,   // not version 2
    bad_kind,      // a kind this version does not know
    bad_flags,  // an unknown bit, one that this kind does not have, or two that exclude each other
    bad_lengths,   // lengths that contradict each other, the message, or the limits
    bad_fields,    // optional fields that do not end where their section does
    missing_fd,    // fewer fds than the kind and flags ask for
    too_many_fds,  // more fds than that
};

// A phrase for a log line, such as "record has the wrong magic (not a hand-off)".
const char* handoff_error_text(HandoffError error);

// Writes the 32 header bytes. Does not judge: an impossible record is encoded as it stands.
void encode_handoff(const HandoffRecord& record, std::span<std::uint8_t, handoff_header_size> out);

// Reads and judges one whole message that came with `fd_count` fds. On success `record` is set,
// its inline data are the `record.inline_length()` bytes after the header, and its fields the rest.
// The fds remain the caller's, who closes them when the answer is not `none`. That a memfd really holds
// `data_length` bytes is found by reading it.
HandoffError decode_handoff(std::span<const std::uint8_t> message, std::size_t fd_count,
                            HandoffRecord& record);

// The id in a header that this process has written itself.
std::uint64_t handoff_id(std::span<const std::uint8_t, handoff_header_size> header);

// How many fds the records of a message need, as far as they can be read.
std::size_t handoff_fds_needed(std::span<const std::uint8_t> message);

// Reads the records of a message that may hold several, one after the other. Their fds came in the
// same order. The message stays the caller's.
class HandoffReader {
  public:
    HandoffReader() = default;
    HandoffReader(std::span<const std::uint8_t> message, std::size_t fd_count)
        : rest_(message), fds_left_(fd_count) {}

    // True after the last record, and after an error: what follows it cannot be told apart.
    bool done() const { return rest_.empty(); }
    // Judges the next record as decode_handoff() does; `record` is set on success. An empty message
    // is a short header.
    HandoffError next(HandoffRecord& record);
    // Of the record that was read last: its inline data, its optional fields, and the index of its
    // first fd among those of the message.
    std::span<const std::uint8_t> data() const { return data_; }
    std::span<const std::uint8_t> fields() const { return fields_; }
    std::size_t first_fd() const { return first_fd_; }

  private:
    std::span<const std::uint8_t> rest_;
    std::size_t fds_left_ = 0;
    std::span<const std::uint8_t> data_, fields_;
    std::size_t first_fd_ = 0, next_fd_ = 0;
};

}  // namespace process
