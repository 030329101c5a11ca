// SPDX-License-Identifier: BSD-3-Clause
// Which service answers a path: the one with the longest prefix of it.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace fd_transfer {

template <class Service>
class Routes {
  public:
    // The service stays the caller's. A prefix that is there already gets the new service.
    void add(std::string_view prefix, Service* service) {
        const auto same = [prefix](const Route& route) { return route.prefix == prefix; };
        std::erase_if(routes_, same);
        const auto shorter = [prefix](const Route& route) {
            return route.prefix.size() < prefix.size();
        };
        routes_.insert(std::find_if(routes_.begin(), routes_.end(), shorter),
                       Route{std::string(prefix), service});
    }

    // `path` is decoded and without dot segments: what lighttpd calls uri.path. nullptr: no match.
    Service* find(std::string_view path) const {
        for (const Route& route : routes_)
            if (path.starts_with(route.prefix)) return route.service;
        return nullptr;
    }

  private:
    struct Route {
        std::string prefix;
        Service* service;
    };
    std::vector<Route> routes_;  // longest first
};

}  // namespace fd_transfer
