// SPDX-License-Identifier: BSD-3-Clause
// A message through zlib, piecewise, in the form permessage-deflate gives it (RFC 7692 section
// 7.2). Internal to the engine: deflate.h is for users.
#pragma once

#define ZLIB_CONST
#include <zlib.h>

#include <array>

#include "ws/deflate.h"

namespace ws {

/// What a flush ends with, and a message on the wire leaves out (7.2.1).
constexpr std::array<uint8_t, 4> flush_tail = {0x00, 0x00, 0xFF, 0xFF};

class Compressor {
  public:
    /// Whether memory could be had. `allocator` must outlive the stream.
    bool open(const DeflatePoolOptions& options, int window_bits, const Allocator& allocator);
    void close() { deflateEnd(&stream_); }
    void restart();
    DeflateProgress run(std::span<const uint8_t>& input, bool last, std::span<uint8_t> output);

    Compressor* next = nullptr;  ///< the pool's
    int window_bits = 0;

  private:
    z_stream stream_{};
    bool begun_ = false;  // bytes of the message went into the stream
    // The newest bytes of a flush that is not complete: the tail, or what comes before it.
    uint8_t held_size_ = 0;
    std::array<uint8_t, flush_tail.size()> held_;
};

class Inflater {
  public:
    bool open(const DeflatePoolOptions& options, int window_bits, const Allocator& allocator);
    void close() { inflateEnd(&stream_); }
    void restart();
    DeflateProgress run(std::span<const uint8_t>& input, bool last, std::span<uint8_t> output);

    Inflater* next = nullptr;
    int window_bits = 0;

  private:
    z_stream stream_{};
    uint8_t tail_taken_ = 0;  // bytes of flush_tail that went into the stream
    bool between_blocks_ = false;
};

}  // namespace ws
