// SPDX-License-Identifier: BSD-3-Clause
// What a worker is told of the client beside the request: who it is, and how it came.
#pragma once

#include "lighty/lighttpd.h"
#include "process/handoff_fields.h"

namespace fd_transfer {

// Adds what lighttpd knows now: address, port and scheme as mod_extforward or the PROXY protocol have
// corrected them, the user whom mod_auth has let in, and the limit of the body.
void add_client_fields(request_st* r, process::FieldWriter& fields);

}  // namespace fd_transfer
