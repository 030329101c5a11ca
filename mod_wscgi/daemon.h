// SPDX-License-Identifier: BSD-3-Clause
// Daemons: long-running programs behind a socket. An endpoint has one or several of them, and each
// session gets a connection to the one with the fewest.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <memory>
#include <string>
#include <vector>

#include "mod_wscgi/backend.h"

namespace wscgi {

struct Endpoint;

// Where a daemon listens.
struct Address {
    std::string name;  // for people: "/run/chat.sock", "10.0.0.2:9000"
    struct sockaddr_storage address;
    socklen_t size = 0;
    uint32_t connections = 0;  // that this process has to it
    int64_t dead_until = 0;    // it did not answer: when it is tried again, in seconds
};

// Makes an address of a socket's path. False if the path is too long.
bool unix_address(const std::string& path, Address& address);

// Makes addresses of "host", "host:port" or "[ipv6]:port". An empty text, or what is wrong.
std::string internet_addresses(const std::string& text, const std::string& default_port,
                               std::vector<Address>& addresses);

// The daemons of an endpoint, the best for the next session first: those that answer before those
// that did not lately, then by the number of connections.
class Daemons {
  public:
    std::vector<std::unique_ptr<Address>> addresses;

    // The next to try, of those that are not in `tried`; nullptr if there is none.
    Address* choose(const std::vector<Address*>& tried, int64_t now) const;
};

// A session's connection to a daemon.
class DaemonConnection : public ChannelBackend {
  public:
    // All must outlive the connection; `ready` as for Channel.
    DaemonConnection(const Endpoint& endpoint, Daemons& daemons, server* srv, fdevent_handler ready,
                     void* context);
    DaemonConnection(const DaemonConnection&) = delete;
    DaemonConnection& operator=(const DaemonConnection&) = delete;
    ~DaemonConnection() override;

    Start start(process::Environment& environment, std::string& error) override;
    std::optional<ProgramEnd> ended() override;
    void end() override;
    void terminate() override;

  private:
    bool connect_next(std::string& error);
    Start connecting();
    void connection_failed(int reason);
    Start connected(process::Environment& environment);

    const Endpoint& endpoint_;
    Daemons& daemons_;
    server* srv_;
    fdevent_handler ready_;
    void* context_;
    lighty::Watch connecting_;
    std::vector<Address*> tried_;
    Address* address_ = nullptr;  // that is being tried, or connected to
    std::string failures_;
    int64_t deadline_ = 0;  // for the connection to be there
    int64_t patience_ = 0;  // and for the one that is being asked
    int64_t ending_ = 0;    // since when it is to end
};

}  // namespace wscgi
