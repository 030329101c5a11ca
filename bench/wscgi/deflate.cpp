// SPDX-License-Identifier: BSD-3-Clause
// permessage-deflate without context takeover, a whole message at a time.
#include "deflate.h"

#include <zlib.h>

namespace bench {
namespace {

// The end of a flushed block, which does not travel.
constexpr uint8_t tail[] = {0, 0, 255, 255};

}  // namespace

std::vector<uint8_t> deflate_message(std::span<const uint8_t> message) {
    z_stream stream{};
    deflateInit2(&stream, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
    std::vector<uint8_t> compressed(deflateBound(&stream, message.size()) + 16);
    stream.next_in = const_cast<uint8_t*>(message.data());
    stream.avail_in = static_cast<uInt>(message.size());
    stream.next_out = compressed.data();
    stream.avail_out = static_cast<uInt>(compressed.size());
    deflate(&stream, Z_SYNC_FLUSH);
    compressed.resize(stream.total_out - sizeof tail);
    deflateEnd(&stream);
    return compressed;
}

std::vector<uint8_t> inflate_message(std::vector<uint8_t> compressed, size_t most) {
    compressed.insert(compressed.end(), tail, tail + sizeof tail);
    std::vector<uint8_t> message(most + 1);
    z_stream stream{};
    inflateInit2(&stream, -15);
    stream.next_in = compressed.data();
    stream.avail_in = static_cast<uInt>(compressed.size());
    stream.next_out = message.data();
    stream.avail_out = static_cast<uInt>(message.size());
    const int result = inflate(&stream, Z_SYNC_FLUSH);
    const size_t size = stream.total_out;
    inflateEnd(&stream);
    message.resize(result == Z_OK && size <= most ? size : 0);
    return message;
}

}  // namespace bench
