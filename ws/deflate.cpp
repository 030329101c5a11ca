// SPDX-License-Identifier: BSD-3-Clause
// The pool of zlib streams, and who holds one for how long.
#include "ws/deflate.h"

#include <cstdlib>
#include <new>

#include "ws/zlib_streams.h"

namespace ws {

Allocator system_allocator() {
    return {[](void*, size_t size) { return std::malloc(size); },
            [](void*, void* memory) { std::free(memory); }, nullptr};
}

template <class Stream>
StreamPool<Stream>::StreamPool(const DeflatePoolOptions& options, uint32_t limit,
                               Allocator allocator)
    : options_(options), allocator_(allocator), limit_(limit) {}

template <class Stream>
StreamPool<Stream>::~StreamPool() {
    while (first_idle_) destroy(take_idle(first_idle_->window_bits));
}

template <class Stream>
Stream* StreamPool<Stream>::borrow(int window_bits) {
    if (Stream* stream = take_idle(window_bits)) {
        stream->restart();
        return stream;
    }
    if (count_ == limit_ && first_idle_) destroy(take_idle(first_idle_->window_bits));
    return count_ < limit_ ? create(window_bits) : nullptr;
}

template <class Stream>
void StreamPool<Stream>::give_back(Stream* stream) {
    if (idle_ >= options_.max_idle) {
        destroy(stream);
        return;
    }
    stream->next = first_idle_;
    first_idle_ = stream;
    idle_++;
}

// The newest idle stream of that window, or null.
template <class Stream>
Stream* StreamPool<Stream>::take_idle(int window_bits) {
    for (Stream** at = &first_idle_; *at; at = &(*at)->next) {
        Stream* stream = *at;
        if (stream->window_bits != window_bits) continue;
        *at = stream->next;
        idle_--;
        return stream;
    }
    return nullptr;
}

template <class Stream>
Stream* StreamPool<Stream>::create(int window_bits) {
    void* memory = allocator_.allocate(allocator_.context, sizeof(Stream));
    if (!memory) return nullptr;
    auto* stream = new (memory) Stream;
    count_++;
    if (stream->open(options_, window_bits, allocator_)) return stream;
    destroy(stream);
    return nullptr;
}

template <class Stream>
void StreamPool<Stream>::destroy(Stream* stream) {
    stream->close();
    stream->~Stream();
    allocator_.release(allocator_.context, stream);
    count_--;
}

template class StreamPool<Compressor>;
template class StreamPool<Inflater>;

PerMessageDeflate::PerMessageDeflate(Role role, const DeflateParameters& agreed, DeflatePool& pool)
    : pool_(&pool),
      send_window_bits_(agreed.server_max_window_bits),
      receive_window_bits_(agreed.client_max_window_bits),
      keep_compressor_(!agreed.server_no_context_takeover),
      keep_inflater_(!agreed.client_no_context_takeover) {
    if (role == Role::client) {
        std::swap(send_window_bits_, receive_window_bits_);
        std::swap(keep_compressor_, keep_inflater_);
    }
}

PerMessageDeflate::~PerMessageDeflate() {
    if (compressor_) pool_->compressors.give_back(compressor_);
    if (inflater_) pool_->inflaters.give_back(inflater_);
}

namespace {

// A piece of a message through a stream that is borrowed if need be and, unless it is to be kept,
// given back when the message is complete.
template <class Stream>
DeflateProgress run(StreamPool<Stream>& pool, Stream*& stream, int window_bits, bool keep,
                    std::span<const uint8_t>& input, bool last, std::span<uint8_t> output) {
    if (!stream) stream = pool.borrow(window_bits);
    if (!stream) return {DeflateProgress::Status::no_memory, 0};
    const DeflateProgress progress = stream->run(input, last, output);
    if (progress.status == DeflateProgress::Status::done && !keep) {
        pool.give_back(stream);
        stream = nullptr;
    }
    return progress;
}

}  // namespace

DeflateProgress PerMessageDeflate::inflate(std::span<const uint8_t>& input, bool last,
                                           std::span<uint8_t> output) {
    return run(pool_->inflaters, inflater_, receive_window_bits_, keep_inflater_, input, last,
               output);
}

DeflateProgress PerMessageDeflate::compress(std::span<const uint8_t>& input, bool last,
                                            std::span<uint8_t> output) {
    return run(pool_->compressors, compressor_, send_window_bits_, keep_compressor_, input, last,
               output);
}

}  // namespace ws
