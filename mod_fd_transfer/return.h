// SPDX-License-Identifier: BSD-3-Clause
// A worker gives a connection back: lighttpd goes on reading requests there.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_set>

#include "lighty/lighttpd.h"
#include "process/file_descriptor.h"

namespace fd_transfer {

// Whether the event loop would tell of bytes from the client.
inline bool awaits_client(const connection* con) {
    return fdevent_fdnode_interest(con->fdn) & FDEVENT_IN;
}

// Goes on with a connection that the server has kept, whose worker has read `unread` bytes too
// many. Or ends it, if the request is `answered` and the client or the configuration wants no other
// one. The request is reset.
void resume(request_st* r, std::span<const uint8_t> unread, bool answered);

// Workers may have made it blocking. False if that cannot be undone.
bool make_non_blocking(int socket);

// A number that only this connection has: the kernel's (SO_COOKIE), as far as it fits a pointer.
// 0: not known.
uintptr_t identity_of(int socket);

// Connections that workers have had, and that the server has now: a worker that returns one of them
// is confused, and the same socket must not become two connections of the server.
class ReturnedConnections {
  public:
    // `plugin_id`: of our plugin data.
    explicit ReturnedConnections(int plugin_id) : plugin_id_(plugin_id) {}

    // What is wrong with a socket that a worker returned, as a connection that came from the
    // server's listening socket of this index; nullptr: nothing.
    const char* fault_of(const server* srv, uint32_t socket_index, int socket) const;
    // Makes a connection of the server of such a socket, with `unread` bytes of the client's.
    // What is wrong, then the socket is closed; nullptr: nothing.
    const char* adopt(server* srv, uint32_t socket_index, std::span<const uint8_t> unread,
                      process::FileDescriptor socket);

    // Ends such a connection as the server ends one of its own: no more is written, and what the
    // client still sends is read for a while, so that it does not miss the response.
    const char* end(server* srv, uint32_t socket_index, process::FileDescriptor socket);
    // Answers 503 on a socket that no worker has received, and ends its connection. `retry_after` in
    // seconds. Returns the bytes of the response without its head; 0: it could not be written.
    uint64_t refuse(server* srv, uint32_t socket_index, int64_t retry_after,
                    process::FileDescriptor socket);

    // The server keeps a connection that a worker has too.
    void remember(connection* con);

    // The server has let go of the connection, or is about to close it.
    void forget(const connection* con);

  private:
    int plugin_id_;
    std::unordered_set<uintptr_t> identities_;
};

}  // namespace fd_transfer
