// SPDX-License-Identifier: BSD-3-Clause
// The program of one session, as a CGI program that speaks WebSocket itself on stdin and stdout:
// for mod_cgi with cgi.upgrade, and for framing "websocket".
#include <stdlib.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "websocket.h"

namespace {

bool write_all(const void* bytes, size_t size) {
    const char* at = static_cast<const char*>(bytes);
    while (size > 0) {
        const ssize_t n = write(1, at, size);
        if (n < 0) return false;
        at += n;
        size -= static_cast<size_t>(n);
    }
    return true;
}

}  // namespace

int main() {
    const char* const key = getenv("HTTP_SEC_WEBSOCKET_KEY");
    const std::string response =
        "Status: 101\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Accept: " +
        bench::accept_key(key ? key : "") + "\n\n";
    if (!write_all(response.data(), response.size())) return 1;

    std::vector<uint8_t> buffer(64 * 1024 + bench::longest_header);
    size_t held = 0;
    for (;;) {
        const ssize_t size = read(0, buffer.data() + held, buffer.size() - held);
        if (size <= 0) return 0;
        held += static_cast<size_t>(size);
        const bench::Echo echo = bench::echo_frames(std::span(buffer).first(held));
        if (!write_all(echo.replies.data(), echo.replies.size())) return 1;
        if (echo.closed) return 0;
        held -= echo.taken;
        memmove(buffer.data(), buffer.data() + echo.taken, held);
        if (echo.next > buffer.size()) buffer.resize(echo.next);
    }
}
