// SPDX-License-Identifier: BSD-3-Clause
// The directives of mod_wscgi.
#include "mod_wscgi/configuration.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lighty/options.h"

namespace wscgi {
namespace {

constexpr const char* server_directive = "wscgi.server";

// The program must be there and be executable when the server starts, not at the first request.
void check_program(const Endpoint& endpoint, lighty::Options& options) {
    const std::string& path = endpoint.command.empty() ? std::string() : endpoint.command[0];
    struct stat status;
    if (path.empty())
        options.fail("bin-path", "is missing", "name the program to run for each session");
    else if (path[0] != '/')
        options.fail("bin-path", "\"" + path + "\" is not an absolute path", "begin it with /");
    else if (stat(path.c_str(), &status) != 0)
        options.fail("bin-path", "\"" + path + "\": " + strerror(errno),
                     "install the program there or correct the path");
    else if (!S_ISREG(status.st_mode) || access(path.c_str(), X_OK) != 0)
        options.fail("bin-path", "\"" + path + "\" is not an executable file",
                     "chmod +x it, for the user that lighttpd runs as");
}

void check_directory(const Endpoint& endpoint, lighty::Options& options) {
    struct stat status;
    const std::string& path = endpoint.directory;
    if (path.empty()) return;
    if (stat(path.c_str(), &status) != 0 || !S_ISDIR(status.st_mode))
        options.fail("directory", "\"" + path + "\" is not a directory",
                     "create it or leave the option out");
}

void read_program(Endpoint& endpoint, lighty::Options& options) {
    if (std::string path = options.text("bin-path"); !path.empty())
        endpoint.command.push_back(std::move(path));
    for (std::string& argument : options.list("arguments"))
        endpoint.command.push_back(std::move(argument));
    endpoint.directory = options.text("directory");
    endpoint.environment = options.table("bin-environment");
    endpoint.copied_environment = options.list("bin-copy-environment");
    check_program(endpoint, options);
    check_directory(endpoint, options);
}

void read_contract(Endpoint& endpoint, lighty::Options& options) {
    endpoint.framing =
        static_cast<FramingKind>(options.choice("framing", {"lines", "websocket"}, 0));
    endpoint.message_type =
        static_cast<MessageType>(options.choice("message-type", {"text", "binary"}, 0));
    endpoint.origins = options.list("origins");
    endpoint.subprotocols = options.list("subprotocols");
}

void read_bounds(Endpoint& endpoint, lighty::Options& options) {
    const auto number = [&options](const char* key, int64_t least, int64_t most,
                                   int64_t otherwise) {
        return static_cast<uint32_t>(options.number(key, least, most, otherwise));
    };
    endpoint.max_sessions = number("max-sessions", 1, 1000000, 256);
    endpoint.max_message = number("max-message", 1, UINT32_MAX, 64 * 1024 * 1024);
    endpoint.window = number("window", 4096, 64 * 1024 * 1024, 64 * 1024);
    endpoint.ping_interval = number("ping-interval", 0, 86400, 30);
    endpoint.pong_timeout = number("pong-timeout", 1, 86400, 20);
    endpoint.handshake_timeout = number("handshake-timeout", 1, 86400, 30);
    endpoint.close_timeout = number("close-timeout", 1, 86400, 5);
    endpoint.grace = number("grace", 0, 86400, 5);
}

bool read_endpoint(std::string_view prefix, lighty::Options& options, Endpoints& endpoints) {
    auto endpoint = std::make_unique<Endpoint>();
    endpoint->prefix = prefix;
    if (!prefix.starts_with('/'))
        options.fail("", "is no URL prefix", "begin it with /, as in \"/count\"");
    read_program(*endpoint, options);
    read_contract(*endpoint, options);
    read_bounds(*endpoint, options);
    endpoints.push_back(std::move(endpoint));
    return options.finish();
}

}  // namespace

bool Configuration::read(server* srv, plugin_data_base* plugin_data) {
    static const config_plugin_keys_t directives[] = {
        {CONST_STR_LEN("wscgi.server"), T_CONFIG_ARRAY_KVARRAY, T_CONFIG_SCOPE_CONNECTION},
        {nullptr, 0, T_CONFIG_UNSET, T_CONFIG_SCOPE_UNSET}};
    if (!config_plugin_values_init(srv, plugin_data, directives, "mod_wscgi")) return false;

    // The first entry is the global scope; it may be empty.
    for (int i = !plugin_data->cvlist[0].v.u2[1]; i < plugin_data->nconfig; ++i) {
        config_plugin_value_t* value = plugin_data->cvlist + plugin_data->cvlist[i].v.u2[0];
        for (; value->k_id != -1; ++value) {
            auto endpoints = std::make_unique<Endpoints>();
            if (!lighty::for_each_entry(*value->v.a, server_directive, srv->errh,
                                        [&](std::string_view prefix, lighty::Options& options) {
                                            return read_endpoint(prefix, options, *endpoints);
                                        }))
                return false;
            value->vtype = T_CONFIG_LOCAL;
            value->v.v = endpoints.get();
            directives_.push_back(std::move(endpoints));
        }
    }
    return true;
}

Endpoint* Configuration::find(request_st* r, const plugin_data_base* plugin_data) const {
    const Endpoints* endpoints = nullptr;
    for (int i = !plugin_data->cvlist[0].v.u2[1]; i < plugin_data->nconfig; ++i) {
        if (i > 0 && !config_check_cond(r, static_cast<int>(plugin_data->cvlist[i].k_id))) continue;
        const config_plugin_value_t* value = plugin_data->cvlist + plugin_data->cvlist[i].v.u2[0];
        for (; value->k_id != -1; ++value)
            if (value->vtype == T_CONFIG_LOCAL)
                endpoints = static_cast<const Endpoints*>(value->v.v);
    }
    return endpoints ? find_endpoint(*endpoints, lighty::view(r->uri.path)) : nullptr;
}

}  // namespace wscgi
