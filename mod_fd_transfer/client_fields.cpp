// SPDX-License-Identifier: BSD-3-Clause
// What a worker is told of the client beside the request.
#include "mod_fd_transfer/client_fields.h"

#include <netinet/in.h>

#include "lighty/compat.h"
#include "lighty/options.h"
#include "mod_fd_transfer/request_body.h"

namespace fd_transfer {

using process::HandoffField;

void add_client_fields(request_st* r, process::FieldWriter& fields) {
    const sock_addr& client = lighty::client_sock_addr(r);
    // Of a client on a unix socket there is nothing to tell.
    if (client.plain.sa_family == AF_INET || client.plain.sa_family == AF_INET6) {
        fields.add(HandoffField::client_address, lighty::client_address(r));
        const in_port_t port =
            client.plain.sa_family == AF_INET ? client.ipv4.sin_port : client.ipv6.sin6_port;
        if (port != 0) fields.add(HandoffField::client_port, ntohs(port), 2);
    }
    fields.add(HandoffField::scheme, lighty::view(&r->uri.scheme));
    if (const buffer* const user = http_header_env_get(r, CONST_STR_LEN("REMOTE_USER")))
        fields.add(HandoffField::user, lighty::view(user));
    if (const uint64_t limit = body_limit(r)) fields.add(HandoffField::body_limit, limit, 8);
}

}  // namespace fd_transfer
