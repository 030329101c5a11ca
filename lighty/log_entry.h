// SPDX-License-Identifier: BSD-3-Clause
// An entry of the access log that is written after lighttpd has let the connection go: what the log
// can show of a request is kept, the connection and its descriptor are not.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "lighty/lighttpd.h"

namespace lighty {

class LogEntries;

// One request that is still to be logged. It has a few kilobytes and no descriptor.
class LogEntry {
  public:
    LogEntry() = default;
    LogEntry(LogEntry&& other) noexcept;
    LogEntry& operator=(LogEntry&& other) noexcept;
    // Not written: the request does not appear in the log.
    ~LogEntry() { drop(); }

    explicit operator bool() const { return connection_ != nullptr; }
    // Calls the modules that log requests. `status`: of HTTP. `bytes`: of the response without its
    // head; 0 is shown as "-".
    void write(int status, uint64_t bytes);
    void drop();

  private:
    friend class LogEntries;
    LogEntry(LogEntries* owner, connection* con) : owner_(owner), connection_(con) {}

    LogEntries* owner_ = nullptr;
    connection* connection_ = nullptr;  // a copy of ours that is in none of lighttpd's lists
};

// Makes the entries of one server process, and outlives them.
class LogEntries {
  public:
    LogEntries() = default;
    LogEntries(const LogEntries&) = delete;
    ~LogEntries();

    // Moves what the log shows out of the request, which lighttpd then does not log. The connection
    // must end, or its request be reset, before anything else looks at the request.
    LogEntry take(request_st* r);

  private:
    friend class LogEntry;
    struct SocketCopy {
        const server_socket* original;
        server_socket copy;
        buffer token;
    };

    connection* unused(const connection* con);
    const server_socket* lasting(const server_socket* socket);
    void give_back(connection* con);

    std::vector<connection*> unused_;  // for reuse
    // lighttpd frees its listening sockets before the last entries can be written.
    std::vector<std::unique_ptr<SocketCopy>> sockets_;
};

// The response that the log shows for a request whose connection lighttpd still has.
void set_logged_response(request_st* r, int status, uint64_t bytes);

}  // namespace lighty
