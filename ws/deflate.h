// SPDX-License-Identifier: BSD-3-Clause
// permessage-deflate after its negotiation (RFC 7692 section 7.2): messages compressed and inflated
// piecewise, by zlib streams borrowed from a pool that many connections share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "ws/extension.h"
#include "ws/frame.h"

namespace ws {

/// Where compressors and inflaters live. `allocate` returns null if it cannot.
struct Allocator {
    void* (*allocate)(void* context, size_t size);
    void (*release)(void* context, void* memory);
    void* context;
};

/// malloc and free.
Allocator system_allocator();

struct DeflatePoolOptions {
    int level = 1;         ///< zlib's 1 (fast) to 9 (small)
    int memory_level = 8;  ///< zlib's 1 to 9; a compressor takes 2^(window bits + 2) + 2^(this + 9)
    uint32_t max_compressors = 1024;  ///< in use and idle together; about 260 KiB each
    uint32_t max_inflaters = 1024;    ///< in use and idle together; about 40 KiB each
    uint32_t max_idle = 8;            ///< of each kind, kept for the next message
};

class Compressor;  // zlib_streams.h
class Inflater;

/// Streams of one kind, made when first needed and kept for re-use.
template <class Stream>
class StreamPool {
  public:
    StreamPool(const DeflatePoolOptions& options, uint32_t limit, Allocator allocator);
    ~StreamPool();
    StreamPool(const StreamPool&) = delete;
    StreamPool& operator=(const StreamPool&) = delete;

    /// A stream with an empty window, or null at the limit or without memory.
    Stream* borrow(int window_bits);
    void give_back(Stream* stream);

    uint32_t count() const { return count_; }  ///< lent and idle together
    uint32_t idle() const { return idle_; }

  private:
    Stream* take_idle(int window_bits);
    Stream* create(int window_bits);
    void destroy(Stream* stream);

    const DeflatePoolOptions& options_;
    Allocator allocator_;
    Stream* first_idle_ = nullptr;
    uint32_t limit_;
    uint32_t count_ = 0;
    uint32_t idle_ = 0;
};

/// What connections share. One without context takeover borrows a stream for as long as one message
/// takes, so that an idle connection has none; one with context takeover keeps what it borrowed.
/// Not thread-safe: one pool per event loop. Must outlive all who borrow.
struct DeflatePool {
    explicit DeflatePool(const DeflatePoolOptions& chosen = {},
                         Allocator allocator = system_allocator())
        : options(chosen),
          compressors(options, options.max_compressors, allocator),
          inflaters(options, options.max_inflaters, allocator) {}

    const DeflatePoolOptions options;
    StreamPool<Compressor> compressors;
    StreamPool<Inflater> inflaters;
};

/// How far inflating or compressing came, and why it stopped.
struct DeflateProgress {
    enum class Status : uint8_t {
        need_input,   ///< all of `input` was taken
        need_output,  ///< `output` is full
        done,         ///< the message is complete
        no_memory,    ///< or the pool's limit is reached
        bad_data,     ///< not a DEFLATE stream
    };
    Status status;
    size_t produced;  ///< bytes written to `output`; there may be some before an error
};

/// One connection's part in permessage-deflate: at most 64 bytes and what it borrowed.
class PerMessageDeflate {
  public:
    PerMessageDeflate(Role role, const DeflateParameters& agreed, DeflatePool& pool);
    ~PerMessageDeflate();
    PerMessageDeflate(const PerMessageDeflate&) = delete;
    PerMessageDeflate& operator=(const PerMessageDeflate&) = delete;

    /// Inflates from the front of `input`, which shrinks by what was taken. `last` says that the
    /// message's last frame ends with `input`. `output` must not be empty. A peer that looks back
    /// beyond the window agreed breaks RFC 7692 section 7.1.2: where that window is smaller than
    /// 2^15 bytes, it meets bad_data unless this call's own output reaches back that far.
    DeflateProgress inflate(std::span<const uint8_t>& input, bool last, std::span<uint8_t> output);

    /// Compresses from the front of `input`, which shrinks by what was taken. `last` says that the
    /// message ends with `input`. `output` must have at least min_output bytes.
    DeflateProgress compress(std::span<const uint8_t>& input, bool last, std::span<uint8_t> output);
    static constexpr size_t min_output = 16;

  private:
    DeflatePool* pool_;
    Compressor* compressor_ = nullptr;
    Inflater* inflater_ = nullptr;
    uint8_t send_window_bits_;
    uint8_t receive_window_bits_;
    bool keep_compressor_;  // context takeover
    bool keep_inflater_;
};

static_assert(sizeof(PerMessageDeflate) <= 64);

}  // namespace ws
