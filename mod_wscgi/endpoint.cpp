// SPDX-License-Identifier: BSD-3-Clause
// Which endpoint a URL belongs to.
#include "mod_wscgi/endpoint.h"

namespace wscgi {
namespace {

// "/count/" and "/count" are the same endpoint; "/" has no name at all.
std::string_view name_of(const Endpoint& endpoint) {
    std::string_view name = endpoint.prefix;
    if (name.ends_with('/')) name.remove_suffix(1);
    return name;
}

bool is_at_or_below(std::string_view path, const Endpoint& endpoint) {
    const std::string_view name = name_of(endpoint);
    if (!path.starts_with(name)) return false;
    if (path.size() == name.size()) return !endpoint.prefix.ends_with('/');
    return path[name.size()] == '/';
}

}  // namespace

Endpoint* find_endpoint(const Endpoints& endpoints, std::string_view path) {
    Endpoint* best = nullptr;
    for (const auto& endpoint : endpoints)
        if (is_at_or_below(path, *endpoint) &&
            (!best || endpoint->prefix.size() > best->prefix.size()))
            best = endpoint.get();
    return best;
}

std::string_view script_name(const Endpoint& endpoint, std::string_view path) {
    return path.substr(0, name_of(endpoint).size());
}

}  // namespace wscgi
