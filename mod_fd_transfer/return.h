// SPDX-License-Identifier: BSD-3-Clause
// A worker gives a connection back: lighttpd goes on reading requests there.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_set>

#include "lighty/lighttpd.h"
#include "process/file_descriptor.h"
#include "process/handoff_record.h"

namespace fd_transfer {

// Connections that came back and that lighttpd has now.
class ReturnedConnections {
  public:
    // `plugin_id`: of our plugin data.
    explicit ReturnedConnections(int plugin_id) : plugin_id_(plugin_id) {}

    // Makes a connection of the server of a socket that a worker returned, with `unread` bytes of
    // the client's. Returns what is wrong with it, then the socket is closed; nullptr: nothing.
    const char* adopt(server* srv, const process::HandoffRecord& record,
                      std::span<const uint8_t> unread, process::FileDescriptor socket);

    // The server is about to close the connection, or to hand it over again.
    void forget(const connection* con);

  private:
    int plugin_id_;
    std::unordered_set<uint64_t> cookies_;  // SO_COOKIE: a number for each socket, never used again
};

}  // namespace fd_transfer
