// SPDX-License-Identifier: BSD-3-Clause
// The two directions of zlib: what permessage-deflate adds to it is the flush at a message's end,
// whose last four bytes are not transmitted.
#include "ws/zlib_streams.h"

#include <algorithm>

namespace ws {
namespace {

using Status = DeflateProgress::Status;

void use_allocator(z_stream& stream, const Allocator& allocator) {
    stream.opaque = const_cast<Allocator*>(&allocator);
    stream.zalloc = [](voidpf opaque, uInt items, uInt size) -> voidpf {
        const auto* from = static_cast<const Allocator*>(opaque);
        return from->allocate(from->context, size_t{items} * size);
    };
    stream.zfree = [](voidpf opaque, voidpf memory) {
        const auto* to = static_cast<const Allocator*>(opaque);
        to->release(to->context, memory);
    };
}

// zlib counts in unsigned int: larger spans are worked off in parts.
constexpr size_t max_part = 1u << 30;

constexpr int zlib_between_blocks = 128;  // in z_stream::data_type, after inflate()

void set_input(z_stream& stream, std::span<const uint8_t> input) {
    stream.next_in = input.data();
    stream.avail_in = static_cast<uInt>(std::min(input.size(), max_part));
}

void set_output(z_stream& stream, std::span<uint8_t> output) {
    stream.next_out = output.data();
    stream.avail_out = static_cast<uInt>(std::min(output.size(), max_part));
}

}  // namespace

bool Compressor::open(const DeflatePoolOptions& options, int bits, const Allocator& allocator) {
    window_bits = bits;
    use_allocator(stream_, allocator);
    // For a window of 2^8 bytes zlib must be given 2^9: it looks back at most 2^bits - 262 bytes,
    // here 250, and does not accept 2^8 itself.
    return deflateInit2(&stream_, options.level, Z_DEFLATED, -std::max(bits, 9),
                        options.memory_level, Z_DEFAULT_STRATEGY) == Z_OK;
}

void Compressor::restart() {
    begun_ = false;
    held_size_ = 0;
    deflateReset(&stream_);
}

DeflateProgress Compressor::run(std::span<const uint8_t>& input, bool last,
                                std::span<uint8_t> output) {
    if (last && input.empty() && !begun_) {
        output[0] = 0;  // an empty message; a second flush in a row would produce nothing (7.2.3.6)
        return {Status::done, 1};
    }
    begun_ = true;
    std::copy_n(held_.begin(), held_size_, output.begin());
    set_output(stream_, output.subspan(held_size_));
    held_size_ = 0;
    do {
        set_input(stream_, input);
        const bool flush = last && stream_.avail_in == input.size();
        const int result = deflate(&stream_, flush ? Z_SYNC_FLUSH : Z_NO_FLUSH);
        if (result != Z_OK && result != Z_BUF_ERROR) return {Status::no_memory, 0};
        input = input.subspan(stream_.next_in - input.data());
    } while (!input.empty() && stream_.avail_out > 0);

    const size_t produced = stream_.next_out - output.data();
    if (stream_.avail_out > 0) {
        if (!last) return {Status::need_input, produced};
        begun_ = false;
        return {Status::done, produced - flush_tail.size()};
    }
    if (!last || !input.empty()) return {Status::need_output, produced};
    // Perhaps the flush ends here, perhaps not: the next call will tell.
    held_size_ = held_.size();
    std::copy_n(stream_.next_out - held_size_, held_size_, held_.begin());
    return {Status::need_output, produced - held_size_};
}

bool Inflater::open(const DeflatePoolOptions&, int bits, const Allocator& allocator) {
    window_bits = bits;
    use_allocator(stream_, allocator);
    return inflateInit2(&stream_, -bits) == Z_OK;
}

void Inflater::restart() {
    tail_taken_ = 0;
    inflateReset(&stream_);
}

DeflateProgress Inflater::run(std::span<const uint8_t>& input, bool last,
                              std::span<uint8_t> output) {
    set_output(stream_, output);
    for (;;) {
        const bool at_tail = last && input.empty();
        set_input(stream_, at_tail ? std::span(flush_tail).subspan(tail_taken_) : input);
        const uInt given = stream_.avail_in;
        const int result = ::inflate(&stream_, Z_SYNC_FLUSH);
        const size_t taken = given - stream_.avail_in;
        if (at_tail)
            tail_taken_ += taken;
        else
            input = input.subspan(taken);

        const size_t produced = stream_.next_out - output.data();
        switch (result) {
            case Z_OK:
                between_blocks_ = stream_.data_type & zlib_between_blocks;
                break;
            case Z_BUF_ERROR:
                break;  // there was nothing to do
            case Z_STREAM_END:
                // A sender may end its stream within a message and begin another (7.2.3.4); the
                // window stays. zlib has no documented way that does not copy it.
                inflateResetKeep(&stream_);
                between_blocks_ = false;
                break;
            case Z_MEM_ERROR:
                return {Status::no_memory, produced};
            default:
                return {Status::bad_data, produced};
        }
        if (stream_.avail_out == 0) return {Status::need_output, produced};
        if (!input.empty()) continue;
        if (!last) return {Status::need_input, produced};
        if (tail_taken_ < flush_tail.size()) continue;
        tail_taken_ = 0;
        return {between_blocks_ ? Status::done : Status::bad_data, produced};
    }
}

}  // namespace ws
