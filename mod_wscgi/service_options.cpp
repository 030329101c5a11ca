// SPDX-License-Identifier: BSD-3-Clause
// The options of one endpoint.
#include "mod_wscgi/service_options.h"

#include <charconv>

#include "lighty/program_options.h"
#include "mod_wscgi/applicable_options.h"

namespace wscgi {
namespace {

void read_program(Service& service, lighty::Options& options) {
    lighty::ProgramOptions program = lighty::read_program_options(options);
    if (options.has("bin-path")) service.command = std::move(program.command);
    service.directory = std::move(program.directory);
    service.environment = std::move(program.environment);
    service.copied_environment = std::move(program.copied_environment);
    for (const auto& [resource, value] : program.limits)
        service.limits.push_back({resource, value});
    service.processes = static_cast<uint32_t>(options.number("max-procs", 1, 1024, 1));
}

void read_remote_hosts(Service& service, lighty::Options& options) {
    const std::string port = std::to_string(options.number("port", 0, 65535, 0));
    for (const std::string& host : options.list("host")) {
        std::vector<Address> found;
        const std::string error = internet_addresses(host, port == "0" ? "" : port, found);
        if (!error.empty())
            options.fail("host", "\"" + host + "\": " + error,
                         "write \"host:port\", or set \"port\" for all hosts");
        // Several addresses of one name are several ways to the same daemon: the first is enough.
        if (!found.empty())
            service.daemons.addresses.push_back(std::make_unique<Address>(found[0]));
    }
}

void read_sockets(Service& service, lighty::Options& options) {
    for (const std::string& path : options.list("socket")) {
        auto address = std::make_unique<Address>();
        if (path.empty() || path[0] != '/')
            options.fail("socket", "\"" + path + "\" is not an absolute path", "begin it with /");
        else if (!unix_address(path, *address))
            options.fail("socket", "\"" + path + "\" is too long",
                         "use a path of at most 107 bytes");
        service.daemons.addresses.push_back(std::move(address));
    }
}

void check_answerer(Service& service, lighty::Options& options) {
    const bool has_addresses = !service.daemons.addresses.empty();
    if (service.model != Model::daemon) {
        if (has_addresses)
            options.fail("socket", "and \"host\" are for daemons", "set \"model\" => \"daemon\"");
        if (service.command.empty())
            options.fail("bin-path", "is missing", "name the program to run");
        return;
    }
    if (service.command.empty() && !has_addresses)
        options.fail("model", "\"daemon\" needs somebody to connect to",
                     "set \"bin-path\" for a daemon to be started, or \"socket\" or \"host\" for "
                     "those that run already");
    if (!service.command.empty() && service.daemons.addresses.size() > 1)
        options.fail("socket", "has several paths for the daemon in \"bin-path\"",
                     "name one socket, or none");
    for (const auto& address : service.daemons.addresses)
        if (!service.command.empty() && address->size && address->address.ss_family != AF_UNIX)
            options.fail("host", "is for daemons that run elsewhere, and there is a \"bin-path\"",
                         "leave one of them out");
}

void read_close_codes(Service& service, lighty::Options& options) {
    const auto number = [](const std::string& text) {
        int value = -1;
        const char* const end = text.data() + text.size();
        const auto [stop, error] = std::from_chars(text.data(), end, value);
        return error == std::errc() && stop == end ? value : -1;
    };
    for (const auto& [status_text, code_text] : options.table("close-codes")) {
        const int status = number(status_text), code = number(code_text);
        if (status < 0 || status > 255)
            options.fail("close-codes", "\"" + status_text + "\" is no exit status",
                         "use 0 to 255, as in ( \"3\" => 4003 )");
        else if (code != ws::close_code::normal && (code < 3000 || code > 4999))
            options.fail("close-codes", "\"" + code_text + "\" is no close code for programs",
                         "use 4000 to 4999, which are free for any use, 3000 to 3999, which are "
                         "registered, or 1000");
        else
            service.close_codes.push_back({status, static_cast<uint16_t>(code)});
    }
}

void read_contract(Service& service, lighty::Options& options) {
    service.framing = static_cast<FramingKind>(
        options.choice("framing", {"lines", "stream", "packet", "length", "websocket"}, 0));
    const size_t type = service.framing == FramingKind::lines ? 0 : 1;
    service.message_type =
        static_cast<MessageType>(options.choice("message-type", {"text", "binary"}, type));
    service.headers = options.flag("headers", false);
    service.scgi = options.flag(
        "scgi", service.model == Model::daemon && service.framing == FramingKind::websocket);
    service.deflate = options.flag("deflate", false);
    service.slow = static_cast<SlowPolicy>(options.choice("slow", {"drop", "skip"}, 0));
    service.origins = options.list("origins");
    service.subprotocols = options.list("subprotocols");
    read_close_codes(service, options);
}

void check_contract(const Service& service, lighty::Options& options) {
    if (service.model == Model::shared && service.framing == FramingKind::websocket)
        options.fail("framing", "\"websocket\" cannot be shared by several clients",
                     "use another framing, or another \"model\"");
    if (service.model == Model::shared && service.headers)
        options.fail("headers", "cannot be printed once for several clients",
                     "disable it, or use another \"model\"");
    if (service.model != Model::daemon && service.scgi)
        options.fail("scgi", "is for daemons; programs have their environment",
                     "leave it out, or set \"model\" => \"daemon\"");
    if (service.framing == FramingKind::packet)
        for (const auto& address : service.daemons.addresses)
            if (address->size && address->address.ss_family != AF_UNIX)
                options.fail("framing", "\"packet\" needs a unix socket, and there is a \"host\"",
                             "use \"length\", which is for any transport");
}

void read_bounds(Service& service, lighty::Options& options) {
    const auto number = [&options](const char* key, int64_t least, int64_t most,
                                   int64_t otherwise) {
        return static_cast<uint32_t>(options.number(key, least, most, otherwise));
    };
    constexpr int64_t day = 24 * 60 * 60;
    service.max_sessions = number("max-sessions", 1, 1000000, 256);
    service.max_per_address = number("max-per-address", 1, 1000000, 1000000);
    service.max_message = number("max-message", 1, UINT32_MAX, 64 * 1024 * 1024);
    service.message_rate = number("message-rate", 0, 1000000, 1000000);
    service.message_burst = number("message-burst", 1, 1000000, 1000000);
    if (!options.has("message-burst") && service.message_rate)
        service.message_burst = service.message_rate;
    service.window = number("window", 4096, 64 * 1024 * 1024, 64 * 1024);
    service.ping_interval = number("ping-interval", 0, day, 30);
    service.pong_timeout = number("pong-timeout", 1, day, 20);
    service.handshake_timeout = number("handshake-timeout", 1, day, 30);
    service.close_timeout = number("close-timeout", 1, day, 5);
    service.grace = number("grace", 0, day, 5);
    service.max_age = number("max-age", 0, 365 * day, 7 * day);
    service.idle_timeout = number("idle-timeout", 0, 365 * day, day);
    service.connect_timeout = number("connect-timeout", 1, 3600, 4);
    service.retry_interval = number("retry-interval", 0, 3600, 5);
    service.linger = number("linger", 0, 365 * day, 10);
}

// What a file found by its extension cannot have: its model is "session", and it is its program.
void check_assigned(const Service& service, lighty::Options& options) {
    for (const char* const option :
         {"model", "bin-path", "arguments", "max-procs", "host", "port", "socket",
          "connect-timeout", "retry-interval", "scgi", "linger", "slow"})
        if (options.has(option))
            options.fail(option, "is not possible for the programs of wscgi.assign",
                         "leave it out, or make an entry of wscgi.server for this URL");
    if (!options.failed()) check_applicable(service, options);
}

}  // namespace

bool read_service(std::string_view prefix, lighty::Options& options, Service& service) {
    service.prefix = prefix;
    if (!prefix.starts_with('/'))
        options.fail("", "is no URL prefix", "begin it with /, as in \"/count\"");
    service.model = static_cast<Model>(options.choice("model", {"session", "shared", "daemon"}, 0));
    read_program(service, options);
    read_remote_hosts(service, options);
    read_sockets(service, options);
    check_answerer(service, options);
    read_contract(service, options);
    check_contract(service, options);
    read_bounds(service, options);
    check_applicable(service, options);
    return options.finish();
}

bool read_assigned_service(lighty::Options& options, Service& service) {
    service.prefix = "wscgi.assign";
    service.directory = options.text("working-directory");
    service.environment = options.table("bin-environment");
    service.copied_environment = options.list("bin-copy-environment");
    for (const auto& [resource, value] : lighty::read_limits(options))
        service.limits.push_back({resource, value});
    read_contract(service, options);
    check_contract(service, options);
    read_bounds(service, options);
    check_assigned(service, options);
    return options.finish();
}

}  // namespace wscgi
