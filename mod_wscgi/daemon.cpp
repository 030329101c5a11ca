// SPDX-License-Identifier: BSD-3-Clause
// Daemons: long-running programs behind a socket.
#include "mod_wscgi/daemon.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>

#include "mod_wscgi/endpoint.h"
#include "mod_wscgi/scgi.h"
#include "process/file_descriptor.h"

namespace wscgi {

// ---- Addresses

bool unix_address(const std::string& path, Address& address) {
    struct sockaddr_un un = {};
    if (path.size() >= sizeof(un.sun_path)) return false;
    un.sun_family = AF_UNIX;
    memcpy(un.sun_path, path.data(), path.size());
    address.name = path;
    memcpy(&address.address, &un, sizeof(un));
    address.size = sizeof(un);
    return true;
}

std::string internet_addresses(const std::string& text, const std::string& default_port,
                               std::vector<Address>& addresses) {
    std::string host = text, port = default_port;
    const size_t colon = text.rfind(':');
    const bool bracketed = text.starts_with('[');
    if (colon != text.npos && (bracketed ? text[colon - 1] == ']' : text.find(':') == colon)) {
        host = text.substr(0, colon);
        port = text.substr(colon + 1);
    }
    if (bracketed && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    if (port.empty()) return "no port";

    struct addrinfo hints = {}, *found = nullptr;
    hints.ai_socktype = SOCK_STREAM;
    if (const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found))
        return gai_strerror(error);
    for (const struct addrinfo* one = found; one; one = one->ai_next) {
        Address& address = addresses.emplace_back();
        address.name = host + ":" + port;
        memcpy(&address.address, one->ai_addr, one->ai_addrlen);
        address.size = one->ai_addrlen;
    }
    freeaddrinfo(found);
    return {};
}

Address* Daemons::choose(const std::vector<Address*>& tried, int64_t now) const {
    Address* best = nullptr;
    const auto rank = [now](const Address* one) {
        const int64_t dead = one->dead_until > now ? one->dead_until : 0;
        return std::pair(dead, one->connections);
    };
    for (const auto& one : addresses) {
        if (std::find(tried.begin(), tried.end(), one.get()) != tried.end()) continue;
        if (!best || rank(one.get()) < rank(best)) best = one.get();
    }
    return best;
}

// ---- A session's connection

DaemonConnection::DaemonConnection(const Endpoint& endpoint, Daemons& daemons, server* srv,
                                   fdevent_handler ready, void* context)
    : ChannelBackend(srv, ready, context),
      endpoint_(endpoint),
      daemons_(daemons),
      srv_(srv),
      ready_(ready),
      context_(context) {}

DaemonConnection::~DaemonConnection() {
    if (address_) --address_->connections;
    channel_.close();
}

Backend::Start DaemonConnection::start(process::Environment& environment, std::string& error) {
    if (!deadline_) deadline_ = log_monotonic_secs + endpoint_.connect_timeout;
    for (;;) {
        if (!address_ && !connect_next(error)) return Start::failed;
        if (!address_) continue;
        const Start state = connecting();
        if (state == Start::ready) return connected(environment);
        if (state == Start::pending) return state;
    }
}

// Begins to connect to the next daemon. False if there is none left, or no time.
bool DaemonConnection::connect_next(std::string& error) {
    Address* const address = daemons_.choose(tried_, log_monotonic_secs);
    if (!address || log_monotonic_secs > deadline_) {
        error = "no daemon answers:" + (failures_.empty() ? " none is there" : failures_);
        return false;
    }
    // One that is silent must leave time for those that have not been asked yet.
    const auto untried = static_cast<int64_t>(daemons_.addresses.size() - tried_.size());
    const int64_t share = (deadline_ - log_monotonic_secs) / untried;
    patience_ = log_monotonic_secs + std::max<int64_t>(share, 1);
    tried_.push_back(address);
    address_ = address;
    ++address->connections;
    const int type = endpoint_.framing == FramingKind::packet ? SOCK_SEQPACKET : SOCK_STREAM;
    process::FileDescriptor fd(
        socket(address->address.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!lighty::Watch::can_watch(srv_, fd.get())) {
        connection_failed(EMFILE);
        return true;
    }
    const auto* const target = reinterpret_cast<const struct sockaddr*>(&address->address);
    if (connect(fd.get(), target, address->size) != 0 && errno != EINPROGRESS) {
        connection_failed(errno);
        return true;
    }
    connecting_.open(srv_, fd.release(), ready_, context_);
    connecting_.want(FDEVENT_OUT);
    return true;
}

Backend::Start DaemonConnection::connecting() {
    int error = 0;
    socklen_t size = sizeof(error);
    struct sockaddr_storage peer;
    socklen_t peer_size = sizeof(peer);
    getsockopt(connecting_.fd(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error == 0) {
        auto* const address = reinterpret_cast<struct sockaddr*>(&peer);
        if (getpeername(connecting_.fd(), address, &peer_size) == 0) return Start::ready;
        if (log_monotonic_secs <= patience_) return Start::pending;
        error = ETIMEDOUT;
    }
    connection_failed(error);
    return Start::failed;
}

void DaemonConnection::connection_failed(int reason) {
    failures_ += " " + address_->name + " (" + strerror(reason) + ")";
    // A full backlog is no death.
    if (reason != EAGAIN && reason != EMFILE)
        address_->dead_until = log_monotonic_secs + endpoint_.retry_interval;
    --address_->connections;
    address_ = nullptr;
    connecting_.close();
}

Backend::Start DaemonConnection::connected(process::Environment& environment) {
    address_->dead_until = 0;
    const int fd = connecting_.release();
    if (address_->address.ss_family != AF_UNIX) {
        const int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
    channel_.open_socket(fd, endpoint_.framing == FramingKind::packet);
    if (endpoint_.scgi) {
        Gathered preamble;
        preamble.add_own(scgi_header(environment));
        channel_.write(preamble);
    }
    return Start::ready;
}

std::optional<ProgramEnd> DaemonConnection::ended() {
    if (ending_ && log_monotonic_secs - ending_ > endpoint_.grace) channel_.end_output();
    if (!channel_.output_ended()) return std::nullopt;
    return ProgramEnd{channel_.broken() ? ProgramEnd::Kind::lost : ProgramEnd::Kind::exited, 0};
}

void DaemonConnection::end() {
    channel_.close_input();
    if (!ending_) ending_ = log_monotonic_secs;
}

void DaemonConnection::terminate() { channel_.end_output(); }

}  // namespace wscgi
