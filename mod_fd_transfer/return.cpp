// SPDX-License-Identifier: BSD-3-Clause
// A worker gives a connection back. Nothing it says is believed unseen: it may be confused.
#include "mod_fd_transfer/return.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include <string>
#include <string_view>

#include "lighty/compat.h"

namespace fd_transfer {
namespace {

uint16_t port_of(const sockaddr* address) {
    if (address->sa_family == AF_INET)
        return reinterpret_cast<const sockaddr_in*>(address)->sin_port;
    if (address->sa_family == AF_INET6)
        return reinterpret_cast<const sockaddr_in6*>(address)->sin6_port;
    return 0;
}

bool is_stream(int socket) {
    int type = 0;
    socklen_t size = sizeof(type);
    return getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

bool is_connected(int socket) {
    sock_addr peer = {};
    socklen_t size = sizeof(peer);
    return getpeername(socket, &peer.plain, &size) == 0;
}

void append(connection* con, std::span<const uint8_t> unread) {
    if (unread.empty()) return;
    chunkqueue_append_mem(con->read_queue, reinterpret_cast<const char*>(unread.data()),
                          unread.size());
    // The queue counts what was read from the client, and once.
    con->read_queue->bytes_in -= off_t(unread.size());
    con->read_queue->bytes_out -= off_t(unread.size());
}

}  // namespace

bool make_non_blocking(int socket) {
    const int flags = fcntl(socket, F_GETFL);
    return flags >= 0 && ((flags & O_NONBLOCK) || fcntl(socket, F_SETFL, flags | O_NONBLOCK) == 0);
}

uintptr_t identity_of(int socket) {
    uint64_t cookie = 0;
    socklen_t size = sizeof(cookie);
    getsockopt(socket, SOL_SOCKET, SO_COOKIE, &cookie, &size);
    return uintptr_t(cookie);
}

void resume(request_st* r, std::span<const uint8_t> unread, bool answered) {
    connection* const con = r->con;
    con->keep_alive_idle = r->conf.max_keep_alive_idle;
    const bool ends = answered && (r->keep_alive <= 0 || con->keep_alive_idle == 0);
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

const char* ReturnedConnections::fault_of(const server* srv, uint32_t socket_index,
                                          int socket) const {
    if (socket_index >= srv->srv_sockets.used) return "there is no such listening socket";
    const server_socket& from = *srv->srv_sockets.ptr[socket_index];
    sock_addr own = {};
    socklen_t size = sizeof(own);
    if (getsockname(socket, &own.plain, &size) != 0) return "the file is no socket";
    if (!is_stream(socket)) return "the socket is no stream";
    if (!is_connected(socket)) return "the socket is not connected";
    if (from.is_ssl) return "its listening socket is for TLS";
    if (own.plain.sa_family != from.addr.plain.sa_family ||
        port_of(&own.plain) != port_of(&from.addr.plain))
        return "the connection was not made to that listening socket";
    if (socket >= srv->max_fds) return "server.max-fds is reached";
    if (srv->lim_conns == 0) return "server.max-connections is reached";
    if (identities_.contains(identity_of(socket)))
        return "the server has the same connection already";
    return nullptr;
}

const char* ReturnedConnections::adopt(server* srv, uint32_t socket_index,
                                       std::span<const uint8_t> unread,
                                       process::FileDescriptor socket) {
    if (!make_non_blocking(socket.get())) return "the socket cannot be made non-blocking";
    sock_addr peer = {};
    socklen_t size = sizeof(peer);
    if (getpeername(socket.get(), &peer.plain, &size) != 0) return "the socket is not connected";
    connection* const con =
        connection_accepted(srv, srv->srv_sockets.ptr[socket_index], &peer, socket.release());
    if (!con) return "another module refused the connection";
    remember(con);
    con->request_count = 1;  // so that the next request is the second, and keep-alive limits hold
    con->keep_alive_idle = con->request.conf.max_keep_alive_idle;
    append(con, unread);
    con->is_readable = !unread.empty();
    connection_state_machine(con);
    return nullptr;
}

const char* ReturnedConnections::end(server* srv, uint32_t socket_index,
                                     process::FileDescriptor socket) {
    if (!make_non_blocking(socket.get())) return "the socket cannot be made non-blocking";
    sock_addr peer = {};
    socklen_t size = sizeof(peer);
    if (getpeername(socket.get(), &peer.plain, &size) != 0) return nullptr;  // it has ended
    connection* const con =
        connection_accepted(srv, srv->srv_sockets.ptr[socket_index], &peer, socket.release());
    if (!con) return "another module refused the connection";
    con->request.keep_alive = 0;
    con->request.state = CON_STATE_ERROR;  // whose end is a shutdown, and lingering
    connection_state_machine(con);
    return nullptr;
}

uint64_t ReturnedConnections::refuse(server* srv, uint32_t socket_index, int64_t retry_after,
                                     process::FileDescriptor socket) {
    constexpr std::string_view body = "503 Service Unavailable\n";
    const std::string response =
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: " + std::to_string(retry_after) +
        "\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: " +
        std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
    const ssize_t sent =
        send(socket.get(), response.data(), response.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent != ssize_t(response.size())) return 0;
    if (fault_of(srv, socket_index, socket.get()))
        shutdown(socket.get(), SHUT_WR);  // there is no room for one more connection
    else
        end(srv, socket_index, std::move(socket));
    return body.size();
}

void ReturnedConnections::remember(connection* con) {
    void*& context = con->plugin_ctx[plugin_id_];
    if (context) return;
    const uintptr_t identity = identity_of(con->fd);
    if (identity) identities_.insert(identity);
    context = reinterpret_cast<void*>(identity);
}

void ReturnedConnections::forget(const connection* con) {
    void*& context = con->plugin_ctx[plugin_id_];
    if (context) identities_.erase(reinterpret_cast<uintptr_t>(context));
    context = nullptr;
}

}  // namespace fd_transfer
