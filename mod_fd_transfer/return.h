// SPDX-License-Identifier: BSD-3-Clause
// A worker gives a connection back: lighttpd goes on reading requests there.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>

#include "lighty/lighttpd.h"
#include "process/file_descriptor.h"

namespace fd_transfer {

// Whether the event loop would tell of bytes from the client.
inline bool awaits_client(const connection* con) {
    return fdevent_fdnode_interest(con->fdn) & FDEVENT_IN;
}

// Goes on with a connection that the server has kept: the worker has answered this request. Or ends
// it, if the client or the configuration wants no other request on it. The request is reset.
void resume(request_st* r, std::span<const uint8_t> unread);

// Connections that workers have had, and that the server has now: a worker that returns one of them
// is confused, and the same socket must not become two connections of the server.
class ReturnedConnections {
  public:
    // `plugin_id`: of our plugin data.
    explicit ReturnedConnections(int plugin_id) : plugin_id_(plugin_id) {}

    // Makes a connection of the server of a socket that a worker returned, with `unread` bytes of
    // the client's. `socket_index`: of the listening socket it came from. Returns what is wrong
    // with it, then the socket is closed; nullptr: nothing.
    const char* adopt(server* srv, uint32_t socket_index, std::span<const uint8_t> unread,
                      process::FileDescriptor socket);

    // The server keeps a connection that a worker has too.
    void remember(connection* con);

    // How many times in a row a connection that was kept has come back without an answer, of which
    // this is one more. `written`: bytes that were written to the client; if they are more than
    // the last time, somebody has answered since.
    unsigned came_back_in_vain(const connection* con, uint64_t written);

    // The server has let go of the connection, or is about to close it.
    void forget(const connection* con);

  private:
    void remember(connection* con, uint64_t identity);

    int plugin_id_;
    struct InVain {
        uint64_t written = 0;
        unsigned times = 0;
    };

    // For each connection a number that is never 0, and how often it came back in vain.
    std::unordered_map<uint64_t, InVain> identities_;
};

}  // namespace fd_transfer
