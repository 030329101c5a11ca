// SPDX-License-Identifier: BSD-3-Clause
// permessage-deflate after its negotiation (RFC 7692 section 7.2): messages compressed and inflated
// piecewise with zlib, by streams borrowed from a pool that many connections share.
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

/// Compressors and inflaters, made when first needed and kept for re-use. A connection without
/// context takeover borrows one for as long as one message takes, so that idle connections have
/// none; a connection with context takeover keeps what it borrowed. Not thread-safe: one pool per
/// event loop. Must outlive all who borrow.
class DeflatePool {
  public:
    explicit DeflatePool(const DeflatePoolOptions& options = {},
                         Allocator allocator = system_allocator());
    ~DeflatePool();
    DeflatePool(const DeflatePool&) = delete;
    DeflatePool& operator=(const DeflatePool&) = delete;

    struct Compressor;
    struct Inflater;

    /// A stream with an empty window, or null at the limit or without memory.
    Compressor* borrow_compressor(int window_bits);
    Inflater* borrow_inflater(int window_bits);

    void give_back(Compressor* compressor);
    void give_back(Inflater* inflater);

    /// How many exist, lent or idle.
    uint32_t compressors() const { return compressors_; }
    uint32_t inflaters() const { return inflaters_; }

  private:
    DeflatePoolOptions options_;
    Allocator allocator_;
    Compressor* idle_compressors_ = nullptr;
    Inflater* idle_inflaters_ = nullptr;
    uint32_t compressors_ = 0;
    uint32_t inflaters_ = 0;
};

/// One connection's part in permessage-deflate: at most 64 bytes and what it borrowed.
class PerMessageDeflate {
  public:
    PerMessageDeflate(Role role, const DeflateParameters& agreed, DeflatePool& pool);
    ~PerMessageDeflate();
    PerMessageDeflate(const PerMessageDeflate&) = delete;
    PerMessageDeflate& operator=(const PerMessageDeflate&) = delete;

    enum class Status : uint8_t {
        need_input,   ///< all of `input` was taken
        need_output,  ///< `output` is full
        done,         ///< the message is complete
        no_memory,    ///< or the pool's limit reached
        bad_data,     ///< not a DEFLATE stream
    };
    struct Progress {
        Status status;
        size_t produced;  ///< bytes written to `output`
    };

    /// Inflates from the front of `input`, which shrinks by what was taken. `last` says that the
    /// message's last frame ends with `input`.
    Progress inflate(std::span<const uint8_t>& input, bool last, std::span<uint8_t> output);

    /// Compresses from the front of `input`, which shrinks by what was taken. `last` says that the
    /// message ends with `input`. `output` has at least min_output bytes.
    Progress compress(std::span<const uint8_t>& input, bool last, std::span<uint8_t> output);
    static constexpr size_t min_output = 16;

  private:
    DeflatePool* pool_;
    DeflatePool::Compressor* compressor_ = nullptr;
    DeflatePool::Inflater* inflater_ = nullptr;
    uint8_t send_window_bits_;
    uint8_t receive_window_bits_;
    bool keep_compressor_;  // context takeover
    bool keep_inflater_;
};

static_assert(sizeof(PerMessageDeflate) <= 64);

}  // namespace ws
