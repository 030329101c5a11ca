// SPDX-License-Identifier: BSD-3-Clause
// How much of a request's body lighttpd has, and whether it must have all of it before the request
// is handed over.
#pragma once

#include <cstdint>
#include <string>

#include "lighty/lighttpd.h"
#include "mod_fd_transfer/configuration.h"

namespace fd_transfer {

// Before a request is handed over at the stage `uri`.
enum class BodyRead {
    ready,    // what is to travel can be written: a head, then append_body()
    waiting,  // lighttpd reads; ask again when the connection has an event
    ended,    // by lighttpd: return `result`
    refused,  // answer with `status`
};
struct BodyResult {
    BodyRead state;
    handler_t result = HANDLER_WAIT_FOR_EVENT;
    int status = 0;
};

// Reads the body to its end if the service wants it whole, if a module has begun to read it, or if
// its framing cannot be said to the worker. lighttpd does it as for mod_proxy without streaming: it
// answers `Expect`, undoes the chunked coding, puts what is large into temporary files, and
// enforces server.max-request-size and server.max-read-idle. Refused is what does not fit into the
// service's records (413), has no length (411), or has been used up in part by a module (500,
// logged).
BodyResult read_body(request_st* r, const Settings& settings);

// Appends what lighttpd has read of this request's body, and of the connection after it, and leaves
// it there. False, logged, if a temporary file cannot be read.
[[nodiscard]] bool append_body(std::string& out, const request_st* r);
// Drops all that append_body() appends, once it has been sent.
void drop_body(request_st* r);

// Bytes that the body may have (server.max-request-size); 0: any number. Of a body that is streamed
// in chunks the worker must see to it.
uint64_t body_limit(const request_st* r);

}  // namespace fd_transfer
