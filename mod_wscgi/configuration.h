// SPDX-License-Identifier: BSD-3-Clause
// The directives of mod_wscgi, read and judged at start, and looked up for a request.
#pragma once

#include <memory>
#include <vector>

#include "lighty/lighttpd.h"
#include "mod_wscgi/service.h"

namespace wscgi {

class Configuration {
  public:
    // Reads all scopes of lighttpd.conf into `plugin_data->cvlist`. False after an error, which
    // is in the log. Called once, from set_defaults.
    bool read(server* srv, plugin_data_base* plugin_data);

    // The service for the request's path in the scopes that are in force for it, or nullptr.
    Service* find(request_st* r, const plugin_data_base* plugin_data) const;

    template <class Visit>
    void for_each_service(Visit visit) {
        for (const auto& endpoints : directives_)
            for (const auto& endpoint : *endpoints) visit(static_cast<Service&>(*endpoint));
    }

  private:
    std::vector<std::unique_ptr<Endpoints>> directives_;  // of all scopes; cvlist points to them
};

}  // namespace wscgi
