// SPDX-License-Identifier: BSD-3-Clause
// A worker gives a connection back. Nothing it says is believed unseen: it may be confused.
#include "mod_fd_transfer/return.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "lighty/compat.h"

namespace fd_transfer {
namespace {

template <class Value>
Value option(int socket, int name) {
    Value value = {};
    socklen_t size = sizeof(value);
    getsockopt(socket, SOL_SOCKET, name, &value, &size);
    return value;
}

uint16_t port_of(const sockaddr* address) {
    if (address->sa_family == AF_INET)
        return reinterpret_cast<const sockaddr_in*>(address)->sin_port;
    if (address->sa_family == AF_INET6)
        return reinterpret_cast<const sockaddr_in6*>(address)->sin6_port;
    return 0;
}

// What is wrong with the socket as a connection that came from this listening socket.
const char* fault_of(int socket, const server_socket& from, sock_addr& peer) {
    sock_addr own = {};
    socklen_t size = sizeof(own);
    if (getsockname(socket, &own.plain, &size) != 0) return "the file is no socket";
    if (option<int>(socket, SO_TYPE) != SOCK_STREAM) return "the socket is no stream";
    size = sizeof(peer);
    if (getpeername(socket, &peer.plain, &size) != 0) return "the socket is not connected";
    if (from.is_ssl) return "its listening socket is for TLS";
    if (own.plain.sa_family != from.addr.plain.sa_family ||
        port_of(&own.plain) != port_of(&from.addr.plain))
        return "the connection was not made to that listening socket";
    return nullptr;
}

// A number that only this connection has: for IPv4 the client's address and port and the listening
// socket, which costs nothing; for others the kernel's number for the socket.
uint64_t identity_of(int socket, const server_socket& from, const sock_addr& peer) {
    if (peer.plain.sa_family != AF_INET) return option<uint64_t>(socket, SO_COOKIE);
    return uint64_t(peer.ipv4.sin_addr.s_addr) << 32 | uint64_t(peer.ipv4.sin_port) << 16 |
           from.sidx;
}

// Workers may have made it blocking.
bool make_non_blocking(int socket) {
    const int flags = fcntl(socket, F_GETFL);
    return flags >= 0 && ((flags & O_NONBLOCK) || fcntl(socket, F_SETFL, flags | O_NONBLOCK) == 0);
}

void append(connection* con, std::span<const uint8_t> unread) {
    if (unread.empty()) return;
    chunkqueue_append_mem(con->read_queue, reinterpret_cast<const char*>(unread.data()),
                          unread.size());
    // The queue counts what was read from the client, and once.
    con->read_queue->bytes_in -= off_t(unread.size());
    con->read_queue->bytes_out -= off_t(unread.size());
}

uintptr_t identity_in(void* plugin_context) { return reinterpret_cast<uintptr_t>(plugin_context); }

}  // namespace

void resume(request_st* r, std::span<const uint8_t> unread) {
    connection* const con = r->con;
    con->keep_alive_idle = r->conf.max_keep_alive_idle;
    // Without keep-alive it ends as an answered request does. But what comes back may be a request
    // that was not answered.
    const bool ends = (r->keep_alive <= 0 || con->keep_alive_idle == 0) && unread.empty();
    if (ends || !make_non_blocking(con->fd)) {
        r->state = CON_STATE_ERROR;
    } else {
        // The client has hardly seen the answer: its next request would not be there yet.
        const bool readable = con->is_readable > 0 || !unread.empty();
        append(con, unread);
        lighty::begin_next_request(r);
        con->is_readable = readable;
    }
    // Not at once: if the connection ended now, an event of its own in this turn would find it
    // freed.
    joblist_append(con);
}

const char* ReturnedConnections::adopt(server* srv, uint32_t socket_index,
                                       std::span<const uint8_t> unread,
                                       process::FileDescriptor socket) {
    if (socket_index >= srv->srv_sockets.used) return "there is no such listening socket";
    const server_socket* const from = srv->srv_sockets.ptr[socket_index];
    sock_addr peer = {};
    if (const char* const fault = fault_of(socket.get(), *from, peer)) return fault;
    if (socket.get() >= srv->max_fds) return "server.max-fds is reached";
    if (srv->lim_conns == 0) return "server.max-connections is reached";
    if (!make_non_blocking(socket.get())) return "the socket cannot be made non-blocking";
    const uint64_t identity = identity_of(socket.get(), *from, peer);
    if (identities_.contains(identity)) return "the server has the same connection already";

    connection* const con = connection_accepted(srv, from, &peer, socket.release());
    if (!con) return "another module refused the connection";
    remember(con, identity);
    con->request_count = 1;  // so that the next request is the second, and keep-alive limits hold
    con->keep_alive_idle = con->request.conf.max_keep_alive_idle;
    append(con, unread);
    con->is_readable = !unread.empty();
    connection_state_machine(con);
    return nullptr;
}

void ReturnedConnections::remember(connection* con, uint64_t identity) {
    if (identities_.try_emplace(identity).second)
        con->plugin_ctx[plugin_id_] = reinterpret_cast<void*>(uintptr_t(identity));
}

void ReturnedConnections::remember(connection* con) {
    if (!con->plugin_ctx[plugin_id_])
        remember(con, identity_of(con->fd, *con->srv_socket, con->dst_addr));
}

void ReturnedConnections::forget(const connection* con) {
    void*& context = con->plugin_ctx[plugin_id_];
    if (context) identities_.erase(identity_in(context));
    context = nullptr;
}

unsigned ReturnedConnections::came_back_in_vain(const connection* con, uint64_t written) {
    const auto found = identities_.find(identity_in(con->plugin_ctx[plugin_id_]));
    if (found == identities_.end()) return 0;
    InVain& in_vain = found->second;
    if (in_vain.written != written) in_vain = {written, 0};
    return ++in_vain.times;
}

}  // namespace fd_transfer
