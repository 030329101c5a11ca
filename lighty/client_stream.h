// SPDX-License-Identifier: BSD-3-Clause
// The bytes to and from the client of an upgraded request, by the shortest way that there is.
//
// lighttpd reads into its chunk queues and writes from them, in portions. On a plain HTTP/1.1
// connection nothing stands between those and the socket, so that we can use the socket ourselves,
// and the queues only for what it does not take. TLS and HTTP/2 go through the queues.
#pragma once

#include <stdint.h>
#include <sys/uio.h>

#include <span>

#include "lighty/lighttpd.h"

namespace lighty {

// Whether the socket can be read directly: the request was upgraded, its body queue is empty.
bool can_read_directly(const request_st* r);

enum class Read : uint8_t { some, nothing, end, failed };

// Reads what there is into `space`; `size` is set. To be called only if can_read_directly().
Read read_directly(request_st* r, std::span<uint8_t> space, size_t& size);

// On HTTP/2: the client's window is not opened by lighttpd, which would do so for all that comes,
// and put what nobody takes into temporary files without end, but by give_window() (RFC 9113 6.9).
// To be called once, after http_response_upgrade_read_body_unknown(). Does nothing on HTTP/1.1.
void hold_window(request_st* r);
// `size` bytes of the body were taken from the queue.
void give_window(request_st* r, uint32_t size);

// Gathers what waits in the queue if it takes much more memory than it is: of HTTP/2 lighttpd keeps
// a DATA frame with the whole buffer that it was read into, 8 KiB for a single byte, 256 KiB for a
// frame at the end of many.
void keep_small(chunkqueue* queue);

// Whether the socket can be written to directly: nothing is queued, and it takes something.
bool can_write_directly(const request_st* r);

// Bytes that the client's socket takes now, so that nothing of them is queued. 0 if something is
// queued already, or lighttpd has to write it (TLS, HTTP/2, rate limits). A system call.
size_t socket_room(const request_st* r);

// Sends the pieces, or queues what the socket does not take now. At most IOV_MAX pieces. `last`:
// the connection is shut down in this turn of the event loop, and its FIN may travel with them.
void send_to_client(request_st* r, std::span<const struct iovec> pieces, bool last);

}  // namespace lighty
