// SPDX-License-Identifier: BSD-3-Clause
// What the administrator has configured for one URL: the program, its contract, and its bounds.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace wscgi {

// How messages look to the program. The names, in this order, are those of the option "framing".
enum class FramingKind : uint8_t {
    lines,      // a message and "\n"
    websocket,  // the program does the handshake and the frames itself
};

// What a program's lines are sent as. The names of the option "message-type", in this order.
enum class MessageType : uint8_t { text, binary };

struct Endpoint {
    std::string prefix;  // of the URL path; "/count" also stands for everything below "/count/"

    std::vector<std::string> command;  // path of the program, and its arguments
    std::string directory;             // working directory; empty: the program's own
    std::vector<std::pair<std::string, std::string>> environment;  // added to the request's
    std::vector<std::string> copied_environment;  // names to copy from the server's own

    FramingKind framing = FramingKind::lines;
    MessageType message_type = MessageType::text;
    std::vector<std::string> origins;       // allowed besides the request's own host; "*": any
    std::vector<std::string> subprotocols;  // the favourite first

    // Bounds. Sizes in bytes, times in seconds.
    uint32_t max_sessions = 0;
    uint64_t max_message = 0;
    uint32_t window = 0;  // that may wait, in each direction of each session
    uint32_t ping_interval = 0;
    uint32_t pong_timeout = 0;
    uint32_t handshake_timeout = 0;
    uint32_t close_timeout = 0;
    uint32_t grace = 0;  // for the program to end, before SIGTERM and again before SIGKILL

    uint32_t sessions = 0;  // that run now, in this process
};

using Endpoints = std::vector<std::unique_ptr<Endpoint>>;

// The endpoint with the longest prefix that `path` is at or below, or nullptr. `path` must be
// normalised, as lighttpd's uri.path is.
Endpoint* find_endpoint(const Endpoints& endpoints, std::string_view path);

// The part of `path` that names the endpoint (CGI's SCRIPT_NAME); what follows is PATH_INFO.
std::string_view script_name(const Endpoint& endpoint, std::string_view path);

}  // namespace wscgi
