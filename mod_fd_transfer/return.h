// SPDX-License-Identifier: BSD-3-Clause
// A worker gives a connection back: lighttpd goes on reading requests there.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_set>

#include "lighty/lighttpd.h"
#include "process/file_descriptor.h"

namespace fd_transfer {

// Connections that came back and that lighttpd has now.
class ReturnedConnections {
  public:
    // `plugin_id`: of our plugin data.
    explicit ReturnedConnections(int plugin_id) : plugin_id_(plugin_id) {}

    // Makes a connection of the server of a socket that a worker returned, with `unread` bytes of
    // the client's. `socket_index`: of the listening socket it came from. Returns what is wrong
    // with it, then the socket is closed; nullptr: nothing.
    const char* adopt_foreign(server* srv, uint32_t socket_index, std::span<const uint8_t> unread,
                              process::FileDescriptor socket);
    // The same for the server's own duplicate of a connection that it handed over: that it is a
    // connection, and whose, is known.
    const char* adopt_own(server* srv, uint32_t socket_index, std::span<const uint8_t> unread,
                          process::FileDescriptor socket);

    // The server is about to close the connection, or to hand it over again.
    void forget(const connection* con);

  private:
    const char* adopt(server* srv, const server_socket* from, sock_addr& peer,
                      std::span<const uint8_t> unread, process::FileDescriptor socket);

    int plugin_id_;
    std::unordered_set<uint64_t> identities_;  // a number for each connection, never 0
};

}  // namespace fd_transfer
