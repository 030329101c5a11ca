// SPDX-License-Identifier: BSD-3-Clause
// The directives of mod_wscgi.
#include "mod_wscgi/configuration.h"

#include "lighty/options.h"
#include "mod_wscgi/service_options.h"

namespace wscgi {

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
            const auto read_one = [&](std::string_view prefix, lighty::Options& options) {
                auto service = std::make_unique<Service>();
                const bool good = read_service(prefix, options, *service);
                endpoints->push_back(std::move(service));
                return good;
            };
            if (!lighty::for_each_entry(*value->v.a, directives[value->k_id].k, srv->errh,
                                        read_one))
                return false;
            value->vtype = T_CONFIG_LOCAL;
            value->v.v = endpoints.get();
            directives_.push_back(std::move(endpoints));
        }
    }
    return true;
}

Service* Configuration::find(request_st* r, const plugin_data_base* plugin_data) const {
    const Endpoints* endpoints = nullptr;
    for (int i = !plugin_data->cvlist[0].v.u2[1]; i < plugin_data->nconfig; ++i) {
        if (i > 0 && !config_check_cond(r, static_cast<int>(plugin_data->cvlist[i].k_id))) continue;
        const config_plugin_value_t* value = plugin_data->cvlist + plugin_data->cvlist[i].v.u2[0];
        for (; value->k_id != -1; ++value)
            if (value->vtype == T_CONFIG_LOCAL)
                endpoints = static_cast<const Endpoints*>(value->v.v);
    }
    if (!endpoints) return nullptr;
    return static_cast<Service*>(find_endpoint(*endpoints, lighty::view(r->uri.path)));
}

}  // namespace wscgi
