// SPDX-License-Identifier: BSD-3-Clause
// The head of a request as lighttpd has decided about it: what a worker gets at the stage `uri`.
//
// Method, target, Host and every end-to-end field are what mod_proxy would send to a backend. What
// concerns the connection itself (version, Connection, Upgrade, Expect, the framing of the body)
// stays the client's, because the worker gets the client's connection. doc/mod_fd_transfer.md has
// the differences as a table.
#pragma once

#include <string>

#include "lighty/lighttpd.h"

namespace fd_transfer {

// False for CONNECT, which asks for a tunnel, and for TRACE, which asks for an echo of the fields
// that lighttpd and its modules have added.
bool has_transferable_method(const request_st* r);

// Writes the head to `out`. False if that is impossible: the target (perhaps of a redirect inside
// lighttpd) has bytes that would end it. The body's length, if there is a body, must be final.
[[nodiscard]] bool write_head(const request_st* r, std::string& out);

// True if bytes that follow this request are no request: they are the rest of a body that lighttpd
// dropped when it redirected the request internally. It will close the connection, so must the
// worker.
bool leftovers_follow(const request_st* r);

}  // namespace fd_transfer
