// SPDX-License-Identifier: BSD-3-Clause
// As little of WebSocket (RFC 6455) as an echo server can do with.
#include "websocket.h"

// The plain functions: SHA1() would set up the whole library first, in each session's program.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/evp.h>
#include <openssl/sha.h>

#include <cstring>

namespace bench {

FrameHeader read_header(std::span<const uint8_t> bytes) {
    FrameHeader header;
    if (bytes.size() < 2) return header;
    header.first = bytes[0];
    header.masked = bytes[1] & 0x80;
    header.payload = bytes[1] & 0x7f;
    const size_t extended = header.payload == 126 ? 2 : header.payload == 127 ? 8 : 0;
    const size_t size = 2 + extended + (header.masked ? 4 : 0);
    if (bytes.size() < size) return header;
    if (extended) header.payload = 0;
    for (size_t i = 0; i < extended; ++i) header.payload = header.payload << 8 | bytes[2 + i];
    if (header.masked) memcpy(header.key, bytes.data() + 2 + extended, 4);
    header.size = size;
    return header;
}

uint8_t* write_header_before(uint8_t* end, uint8_t first, uint64_t payload) {
    const unsigned extended = payload < 126 ? 0 : payload < 65536 ? 2 : 8;
    for (unsigned i = 0; i < extended; ++i) *--end = static_cast<uint8_t>(payload >> 8 * i);
    *--end = extended == 0 ? static_cast<uint8_t>(payload) : extended == 2 ? 126 : 127;
    *--end = first;
    return end;
}

void unmask(std::span<uint8_t> bytes, const uint8_t key[4], size_t phase) {
    uint8_t turned[8];
    for (size_t i = 0; i < 8; ++i) turned[i] = key[(phase + i) & 3];
    uint64_t word;
    memcpy(&word, turned, 8);
    uint8_t* at = bytes.data();
    uint8_t* const end = at + bytes.size() / 8 * 8;
    for (; at != end; at += 8) {
        uint64_t eight;
        memcpy(&eight, at, 8);
        eight ^= word;
        memcpy(at, &eight, 8);
    }
    for (size_t i = 0; i < bytes.size() % 8; ++i) at[i] ^= turned[i];
}

std::string accept_key(std::string_view key) {
    const std::string text = std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    uint8_t digest[SHA_DIGEST_LENGTH];
    SHA_CTX context;
    SHA1_Init(&context);
    SHA1_Update(&context, text.data(), text.size());
    SHA1_Final(digest, &context);
    char encoded[32];
    EVP_EncodeBlock(reinterpret_cast<uint8_t*>(encoded), digest, sizeof digest);
    return encoded;
}

std::string accept_response(std::string_view request) {
    constexpr std::string_view field = "Sec-WebSocket-Key: ";
    std::string_view key = request.substr(std::min(request.find(field), request.size()));
    key = key.substr(std::min(field.size(), key.size()));
    key = key.substr(0, key.find('\r'));
    return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           "Sec-WebSocket-Accept: " +
           accept_key(key) + "\r\n\r\n";
}

Echo echo_frames(std::span<uint8_t> bytes) {
    Echo echo;
    uint8_t* out = nullptr;  // end of the replies, which are shorter than what they answer
    while (!echo.closed) {
        const FrameHeader header = read_header(bytes.subspan(echo.taken));
        echo.next = header.size ? header.size + header.payload : 0;
        if (!header.size || bytes.size() - echo.taken < echo.next) break;
        const std::span<uint8_t> payload =
            bytes.subspan(echo.taken + header.size, static_cast<size_t>(header.payload));
        echo.taken += echo.next;
        echo.closed = header.opcode() == close;
        if (header.opcode() == pong) continue;
        if (header.masked) unmask(payload, header.key, 0);
        const auto first = static_cast<uint8_t>(header.first + (header.opcode() == ping));
        uint8_t* const begin = write_header_before(payload.data(), first, payload.size());
        const auto size = static_cast<size_t>(payload.data() + payload.size() - begin);
        if (!out) {
            echo.replies = {begin, size};
        } else {
            memmove(out, begin, size);
            echo.replies = {echo.replies.data(), echo.replies.size() + size};
        }
        out = echo.replies.data() + echo.replies.size();
    }
    return echo;
}

}  // namespace bench
