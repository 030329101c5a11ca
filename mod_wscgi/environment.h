// SPDX-License-Identifier: BSD-3-Clause
// The environment variables of a session's program: CGI/1.1 as lighttpd's mod_cgi gives it
// (RFC 3875 section 4.1), and what WebSocket adds.
#pragma once

#include <string>

#include "lighty/lighttpd.h"
#include "process/environment.h"

namespace wscgi {

struct Answer;
struct Endpoint;

// Fills `environment`. Returns an empty text, or why the request must be refused with 400: two of
// its header fields would be the same variable. `answer` is what was agreed with the client.
std::string fill_environment(process::Environment& environment, request_st* r,
                             const Endpoint& endpoint, const std::string& session_id,
                             const Answer& answer);

}  // namespace wscgi
