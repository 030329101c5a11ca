// SPDX-License-Identifier: BSD-3-Clause
// Authorizers and hand-offs to the same URLs.
#include "mod_fd_transfer/authorizers.h"

#include <string.h>

#include <algorithm>
#include <string>

#include "lighty/options.h"

namespace fd_transfer {
namespace {

using lighty::view;

// mod_proxy and mod_wstunnel refuse authorizers themselves.
struct Gateway {
    const char* directive;
    const char* module;
    bool wants_file;  // unless "check-local" is off
};
constexpr Gateway gateways[] = {
    {"fastcgi.server", "mod_fastcgi", true},
    {"scgi.server", "mod_scgi", true},
    {"ajp13.server", "mod_ajp13", false},
};

// Position in server.modules; as many as there are modules if it is not among them.
uint32_t position(const server* srv, std::string_view module) {
    const array& modules = *srv->srvconf.modules;
    uint32_t i = 0;
    while (i < modules.used &&
           module != view(reinterpret_cast<const data_string*>(modules.data[i])->value))
        ++i;
    return i;
}

const array* table_of(const data_unset* entry) {
    return entry && entry->type == TYPE_ARRAY ? &reinterpret_cast<const data_array*>(entry)->value
                                              : nullptr;
}

std::string_view text_of(const array& table, std::string_view key) {
    const data_unset* const entry =
        array_get_element_klen(&table, key.data(), uint32_t(key.size()));
    return entry && entry->type == TYPE_STRING
               ? view(reinterpret_cast<const data_string*>(entry)->value)
               : std::string_view();
}

bool waits_for_file(const Gateway& gateway, const array& host) {
    const data_unset* const option = array_get_element_klen(&host, CONST_STR_LEN("check-local"));
    return gateway.wants_file && config_plugin_value_tobool(option, 1);
}

// What an authorizer is for: a prefix of the URL's path, or an extension, which may end any path.
bool overlap(std::string_view pattern, std::string_view prefix) {
    return !pattern.starts_with('/') || pattern.starts_with(prefix) || prefix.starts_with(pattern);
}

// One authorizer's configuration, held against one service.
class Check {
  public:
    Check(const server* srv, const Gateway& gateway, std::string_view pattern,
          std::string_view prefix)
        : srv_(srv), gateway_(gateway) {
        where_ = std::string(gateway.directive) + " \"" + std::string(pattern) + "\" authorizer";
        service_ = "fd-transfer.server \"" + std::string(prefix) + '"';
    }

    bool passes(const array& host) const {
        if (position(srv_, gateway_.module) > position(srv_, "mod_fd_transfer"))
            return fail("would not be asked: mod_fd_transfer claims its requests first, for ",
                        std::string("list \"") + gateway_.module +
                            "\" before \"mod_fd_transfer\" in server.modules");
        if (waits_for_file(gateway_, host))
            return fail(
                "would not be asked: it waits for a file to be found, and a hand-off needs "
                "none, by ",
                "add \"check-local\" => \"disable\" to the authorizer");
        if (!text_of(host, "docroot").empty())
            return fail(
                "has a \"docroot\": what it lets pass is looked for there, and not handed "
                "over by ",
                "take \"docroot\" out of the authorizer");
        return true;
    }

  private:
    bool fail(std::string_view what, std::string_view remedy) const {
        lighty::report(srv_->errh, where_, std::string(what) + service_, remedy);
        return false;
    }

    const server* srv_;
    const Gateway& gateway_;
    std::string where_;
    std::string service_;
};

// ( pattern => (( "mode" => "authorizer", ... )) ): every one is checked against every service.
bool check_table(const server* srv, const Gateway& gateway, const array& table,
                 std::span<const std::string_view> prefixes) {
    bool good = true;
    for (uint32_t i = 0; i < table.used; ++i) {
        const std::string_view pattern = view(table.data[i]->key);
        const array* const hosts = table_of(table.data[i]);
        for (uint32_t k = 0; hosts && k < hosts->used; ++k) {
            const array* const host = table_of(hosts->data[k]);
            if (!host || text_of(*host, "mode") != "authorizer") continue;
            const auto prefix = std::find_if(prefixes.begin(), prefixes.end(),
                                             [&](auto one) { return overlap(pattern, one); });
            if (prefix != prefixes.end())
                good = Check(srv, gateway, pattern, *prefix).passes(*host) && good;
        }
    }
    return good;
}

}  // namespace

// Read from the parsed file itself: to ask lighttpd for another module's directive would silence
// its warning that the module is not loaded.
bool authorizers_come_first(const server* srv, std::span<const std::string_view> prefixes) {
    bool good = true;
    for (uint32_t i = 0; i < srv->config_context->used; ++i) {
        const auto& scope = *reinterpret_cast<const data_config*>(srv->config_context->data[i]);
        for (const Gateway& gateway : gateways) {
            const array* const table = table_of(array_get_element_klen(
                scope.value, gateway.directive, uint32_t(strlen(gateway.directive))));
            if (table && position(srv, gateway.module) < srv->srvconf.modules->used)
                good = check_table(srv, gateway, *table, prefixes) && good;
        }
    }
    return good;
}

}  // namespace fd_transfer
