// SPDX-License-Identifier: BSD-3-Clause
// The file that a request's URL names, where lighttpd does not ask for it itself.
#pragma once

#include "lighty/lighttpd.h"

namespace lighty {

// lighttpd leaves the document root and the physical path of an extended CONNECT (RFC 8441) empty
// once a module has claimed the request. This finds them in the way it does for any other request:
// by asking the modules (mod_evhost, mod_alias, ...) in their order. HANDLER_GO_ON, or what a
// module has returned that wants the request to end; does nothing if they are known already.
handler_t find_physical_path(request_st* r);

}  // namespace lighty
