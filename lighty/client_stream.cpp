// SPDX-License-Identifier: BSD-3-Clause
// The bytes to and from the client of an upgraded request.
#include "lighty/client_stream.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>

#include <algorithm>
#include <string_view>
#include <utility>

namespace lighty {
namespace {

bool is_plain_http1(const request_st* r) {
    return !r->con->is_ssl_sock && r->http_version <= HTTP_VERSION_1_1;
}

// KiB of body that may wait; a client that keeps to its window never has so much on the way.
constexpr unsigned int most_waiting = 1024;

template <class Request>
auto& receive_window(Request& r) {
    if constexpr (requires { r.h2_rwin; })
        return r.h2_rwin;
    else
        return r.x.h2.rwin;
}

template <class Request>
uint32_t stream_id(const Request& r) {
    if constexpr (requires { r.h2id; })
        return r.h2id;
    else
        return r.x.h2.id;
}

// Bytes that a queue may take beyond what is in it, and a quarter of that: what lighttpd read last.
constexpr size_t spare = 16 * 1024;

size_t length_of(const chunk* c) { return buffer_clen(c->mem) - static_cast<size_t>(c->offset); }

// lighttpd puts as much into one of its small buffers, with the byte that ends a string.
constexpr size_t small_piece = 8191;

// So that each buffer is full before the next one is begun.
void append_in_small_pieces(chunkqueue* queue, const chunk* c) {
    std::string_view bytes(c->mem->ptr + c->offset, length_of(c));
    while (!bytes.empty()) {
        const size_t room = queue->last ? buffer_string_space(queue->last->mem) : 0;
        const auto piece = bytes.substr(0, room ? std::min(room, small_piece) : small_piece);
        chunkqueue_append_mem(queue, piece.data(), piece.size());
        bytes.remove_prefix(piece.size());
    }
}

// Returns how many bytes the socket took, and keeps lighttpd's books.
size_t write_directly(request_st* r, std::span<const struct iovec> pieces, size_t total,
                      bool last) {
    connection* const con = r->con;
    // For one piece send() is the shorter way.
    const int flags = MSG_NOSIGNAL | (last ? MSG_MORE : 0);
    const ssize_t written = pieces.size() == 1
                                ? ::send(con->fd, pieces[0].iov_base, pieces[0].iov_len, flags)
                                : writev(con->fd, pieces.data(), static_cast<int>(pieces.size()));
    const size_t size = written > 0 ? static_cast<size_t>(written) : 0;
    con->write_request_ts = log_monotonic_secs;
    con->bytes_written_cur_second += static_cast<off_t>(size);
    r->write_queue.bytes_in += static_cast<off_t>(size);
    r->write_queue.bytes_out += static_cast<off_t>(size);
    // An error shows again when lighttpd writes what is queued, and is its business.
    if (size < total && (written >= 0 || errno == EAGAIN)) con->is_writable = 0;
    return size;
}

}  // namespace

bool can_read_directly(const request_st* r) {
    return is_plain_http1(r) && chunkqueue_is_empty(&r->reqbody_queue) &&
           chunkqueue_is_empty(&r->read_queue);
}

Read read_directly(request_st* r, std::span<uint8_t> space, size_t& size) {
    connection* const con = r->con;
    con->read_idle_ts = log_monotonic_secs;
    const ssize_t result = recv(con->fd, space.data(), space.size(), 0);
    if (result < static_cast<ssize_t>(space.size())) con->is_readable = 0;
    if (result > 0) {
        size = static_cast<size_t>(result);
        r->read_queue.bytes_in += result;
        r->read_queue.bytes_out += result;
        return Read::some;
    }
    size = 0;
    if (result == 0) return Read::end;
    return errno == EAGAIN || errno == EINTR ? Read::nothing : Read::failed;
}

// The response's header must have left the queue, and lighttpd's rate limits must not apply.
bool can_write_directly(const request_st* r) {
    return is_plain_http1(r) && r->state == CON_STATE_WRITE && r->con->is_writable > 0 &&
           chunkqueue_is_empty(&r->write_queue) && r->conf.bytes_per_second == 0 &&
           r->conf.global_bytes_per_second == 0;
}

void hold_window(request_st* r) {
    if (r->http_version <= HTTP_VERSION_1_1) return;
    // "Unknown until END_STREAM" is -1 there; -2 makes lighttpd refuse END_STREAM.
    r->reqbody_length = -1;
    r->conf.max_request_size = most_waiting;
    receive_window(*r) = INT32_MAX;  // lighttpd opens the window only when this has run low
}

void give_window(request_st* r, uint32_t size) {
    if (r->http_version <= HTTP_VERSION_1_1 || r->reqbody_length >= 0 || size == 0) return;
    const uint32_t id = stream_id(*r);
    const uint8_t frame[] = {0,
                             0,
                             4,
                             8,
                             0,  // length, WINDOW_UPDATE, no flags
                             uint8_t(id >> 24),
                             uint8_t(id >> 16),
                             uint8_t(id >> 8),
                             uint8_t(id),
                             uint8_t(size >> 24),
                             uint8_t(size >> 16),
                             uint8_t(size >> 8),
                             uint8_t(size)};
    chunkqueue_append_mem(r->con->write_queue, reinterpret_cast<const char*>(frame), sizeof(frame));
}

void keep_small(chunkqueue* queue) {
    size_t length = 0, taken = 0;
    for (const chunk* c = queue->first; c; c = c->next) {
        if (c->type != chunk::MEM_CHUNK) return;
        length += length_of(c);
        taken += c->mem->size;
    }
    if (taken <= length + length / 4 + spare) return;
    chunkqueue gathered{};
    chunkqueue_init(&gathered);
    for (const chunk* c = queue->first; c; c = c->next) append_in_small_pieces(&gathered, c);
    std::swap(queue->first, gathered.first);
    std::swap(queue->last, gathered.last);
    chunkqueue_reset(&gathered);
}

size_t socket_room(const request_st* r) {
    if (!can_write_directly(r)) return 0;
    uint32_t memory[SK_MEMINFO_VARS];
    socklen_t size = sizeof(memory);
    if (getsockopt(r->con->fd, SOL_SOCKET, SO_MEMINFO, memory, &size) != 0) return 0;
    const uint32_t limit = memory[SK_MEMINFO_SNDBUF];
    const uint32_t used = memory[SK_MEMINFO_WMEM_QUEUED];
    // The kernel counts its own overhead too.
    return used < limit ? size_t{limit - used} / 8 * 7 : 0;
}

void send_to_client(request_st* r, std::span<const struct iovec> pieces, bool last) {
    size_t total = 0;
    for (const struct iovec& piece : pieces) total += piece.iov_len;
    size_t sent = total && can_write_directly(r) ? write_directly(r, pieces, total, last) : 0;
    for (const struct iovec& piece : pieces) {
        const size_t skipped = std::min(sent, piece.iov_len);
        sent -= skipped;
        if (skipped < piece.iov_len)
            chunkqueue_append_mem(&r->write_queue,
                                  static_cast<const char*>(piece.iov_base) + skipped,
                                  piece.iov_len - skipped);
    }
}

}  // namespace lighty
