// SPDX-License-Identifier: BSD-3-Clause
// The directives of mod_wscgi, read and judged at start, and looked up for a request.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lighty/lighttpd.h"
#include "mod_wscgi/service.h"

namespace wscgi {

// What is to answer a request.
struct Target {
    Service* service = nullptr;  // nullptr: nothing of ours
    std::vector<std::string> command;
};

class Configuration {
  public:
    // Reads all scopes of lighttpd.conf into `plugin_data->cvlist`. False after an error, which
    // is in the log. Called once, from set_defaults.
    bool read(server* srv, plugin_data_base* plugin_data);

    // By wscgi.server: for the request's URL path.
    Target find_by_url(request_st* r, const plugin_data_base* plugin_data) const;
    // By wscgi.assign: for the file that the request's physical path names.
    Target find_by_file(request_st* r, const plugin_data_base* plugin_data) const;

    template <class Visit>
    void for_each_service(Visit visit) {
        for (const auto& endpoints : directives_)
            for (const auto& endpoint : *endpoints) visit(static_cast<Service&>(*endpoint));
    }

    // True if any session may get a program of its own.
    bool has_programs_of_sessions();

  private:
    bool read_value(server* srv, config_plugin_value_t& value);

    bool assigns_ = false;                                // wscgi.assign is there
    std::vector<std::unique_ptr<Endpoints>> directives_;  // of all scopes; cvlist points to them
};

}  // namespace wscgi
