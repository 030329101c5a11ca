// SPDX-License-Identifier: BSD-3-Clause
// What the administrator has configured for one URL: the program, its contract, and its bounds.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "process/spawn.h"

namespace wscgi {

// What answers a session. The names, in this order, are those of the option "model".
enum class Model : uint8_t {
    session,  // a process of its own
    shared,   // one process for all sessions
    daemon,   // a long-running process behind a socket
};

// How messages look to the program. The names, in this order, are those of the option "framing".
enum class FramingKind : uint8_t {
    lines,      // a message and "\n"
    stream,     // bytes without boundaries
    packet,     // a message is a packet of a SOCK_SEQPACKET socket
    length,     // kind and length before each message
    websocket,  // the program does the handshake and the frames itself
};

// What becomes of a session that does not read fast enough what its shared program writes to all.
// The names of the option "slow", in this order.
enum class SlowPolicy : uint8_t {
    drop,  // it is closed
    skip,  // it misses messages
};

// What a program's lines are sent as. The names of the option "message-type", in this order.
enum class MessageType : uint8_t { text, binary };

// The close code for a program that has exited with this status.
struct CloseCode {
    int status;
    uint16_t code;
};

struct Endpoint {
    std::string prefix;  // of the URL path; "/count" also stands for everything below "/count/"

    Model model = Model::session;
    std::vector<std::string> command;  // path of the program, and its arguments; none: remote
    std::string directory;             // working directory; empty: the program's own
    std::vector<std::pair<std::string, std::string>> environment;  // added to the request's
    std::vector<std::string> copied_environment;  // names to copy from the server's own
    std::vector<process::ResourceLimit> limits;
    uint32_t processes = 1;  // of a daemon that we start

    FramingKind framing = FramingKind::lines;
    MessageType message_type = MessageType::text;
    bool headers = false;  // the program prints a CGI header first
    bool scgi = false;     // a daemon gets the request's variables first
    bool deflate = false;  // permessage-deflate, if the client offers it
    SlowPolicy slow = SlowPolicy::drop;
    std::vector<std::string> origins;       // allowed besides the request's own host; "*": any
    std::vector<std::string> subprotocols;  // the favourite first
    std::vector<CloseCode> close_codes;     // where 1000 and 1011 are not meant

    // Bounds. Sizes in bytes, times in seconds.
    uint32_t max_sessions = 0;
    uint32_t max_per_address = 0;  // sessions of one client address
    uint64_t max_message = 0;
    uint32_t message_rate = 0;   // messages of a client in a second, in the long run
    uint32_t message_burst = 0;  // and at once
    uint32_t window = 0;         // that may wait, in each direction of each session
    uint32_t ping_interval = 0;
    uint32_t pong_timeout = 0;
    uint32_t handshake_timeout = 0;
    uint32_t close_timeout = 0;
    uint32_t grace = 0;  // for the program to end, before SIGTERM and again before SIGKILL
    uint32_t max_age = 0;
    uint32_t idle_timeout = 0;     // without a message in either direction
    uint32_t connect_timeout = 0;  // for any of the daemons to answer
    uint32_t retry_interval = 0;   // until a daemon that did not answer is tried again
    uint32_t linger = 0;           // of a shared program after its last session

    virtual ~Endpoint() = default;
};

using Endpoints = std::vector<std::unique_ptr<Endpoint>>;

// The endpoint with the longest prefix that `path` is at or below, or nullptr. `path` must be
// normalised, as lighttpd's uri.path is.
Endpoint* find_endpoint(const Endpoints& endpoints, std::string_view path);

// The part of `path` that names the endpoint (CGI's SCRIPT_NAME); what follows is PATH_INFO.
std::string_view script_name(const Endpoint& endpoint, std::string_view path);

}  // namespace wscgi
