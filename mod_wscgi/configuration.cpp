// SPDX-License-Identifier: BSD-3-Clause
// The directives of mod_wscgi.
#include "mod_wscgi/configuration.h"

#include "lighty/options.h"
#include "mod_wscgi/service_options.h"

namespace wscgi {
namespace {

enum Directive : int { server_directive, assign_directive, options_directive };

const config_plugin_keys_t directives[] = {
    {CONST_STR_LEN("wscgi.server"), T_CONFIG_ARRAY_KVARRAY, T_CONFIG_SCOPE_CONNECTION},
    {CONST_STR_LEN("wscgi.assign"), T_CONFIG_ARRAY_KVSTRING, T_CONFIG_SCOPE_CONNECTION},
    {CONST_STR_LEN("wscgi.options"), T_CONFIG_ARRAY_KVANY, T_CONFIG_SCOPE_CONNECTION},
    {nullptr, 0, T_CONFIG_UNSET, T_CONFIG_SCOPE_UNSET}};

// Calls visit(value) for the values in all scopes, those of the global scope first; `r` restricts
// it to the scopes that are in force for a request.
template <class Visit>
void for_each_value(const plugin_data_base* data, request_st* r, Visit visit) {
    for (int i = !data->cvlist[0].v.u2[1]; i < data->nconfig; ++i) {
        if (r && i > 0 && !config_check_cond(r, static_cast<int>(data->cvlist[i].k_id))) continue;
        config_plugin_value_t* value = data->cvlist + data->cvlist[i].v.u2[0];
        for (; value->k_id != -1; ++value) visit(*value);
    }
}

}  // namespace

bool Configuration::read(server* srv, plugin_data_base* plugin_data) {
    if (!config_plugin_values_init(srv, plugin_data, directives, "mod_wscgi")) return false;
    // Stands in for wscgi.options where there are none.
    auto defaults = std::make_unique<Endpoints>();
    const array none = {};
    lighty::Options no_options(none, "wscgi.options", srv->errh);
    auto service = std::make_unique<Service>();
    bool good = read_assigned_service(no_options, *service);
    defaults->push_back(std::move(service));
    directives_.push_back(std::move(defaults));

    for_each_value(plugin_data, nullptr,
                   [&](config_plugin_value_t& value) { good = good && read_value(srv, value); });
    return good;
}

bool Configuration::read_value(server* srv, config_plugin_value_t& value) {
    if (value.k_id == assign_directive) {
        assigns_ = true;
        return true;
    }
    auto endpoints = std::make_unique<Endpoints>();
    const auto read_one = [&](std::string_view prefix, lighty::Options& options) {
        auto service = std::make_unique<Service>();
        const bool good = value.k_id == server_directive ? read_service(prefix, options, *service)
                                                         : read_assigned_service(options, *service);
        endpoints->push_back(std::move(service));
        return good;
    };
    if (value.k_id == server_directive) {
        if (!lighty::for_each_entry(*value.v.a, directives[value.k_id].k, srv->errh, read_one))
            return false;
    } else {
        lighty::Options options(*value.v.a, directives[value.k_id].k, srv->errh);
        if (!read_one({}, options)) return false;
    }
    value.vtype = T_CONFIG_LOCAL;
    value.v.v = endpoints.get();
    directives_.push_back(std::move(endpoints));
    return true;
}

bool Configuration::has_programs_of_sessions() {
    bool has = assigns_;
    for_each_service([&](const Service& service) {
        // Other options are of use with wscgi.assign only.
        const bool by_url = service.prefix.starts_with('/');
        has = has || (by_url && service.model == Model::session);
    });
    return has;
}

Target Configuration::find_by_url(request_st* r, const plugin_data_base* plugin_data) const {
    const Endpoints* endpoints = nullptr;
    for_each_value(plugin_data, r, [&](const config_plugin_value_t& value) {
        if (value.k_id == server_directive) endpoints = static_cast<const Endpoints*>(value.v.v);
    });
    if (!endpoints) return {};
    auto* const service =
        static_cast<Service*>(find_endpoint(*endpoints, lighty::view(r->uri.path)));
    if (!service) return {};
    return {service, service->command};
}

Target Configuration::find_by_file(request_st* r, const plugin_data_base* plugin_data) const {
    const array* assign = nullptr;
    const Endpoints* options = directives_[0].get();
    for_each_value(plugin_data, r, [&](const config_plugin_value_t& value) {
        if (value.k_id == assign_directive) assign = value.v.a;
        if (value.k_id == options_directive) options = static_cast<const Endpoints*>(value.v.v);
    });
    if (!assign) return {};
    const auto* const match =
        reinterpret_cast<const data_string*>(array_match_key_suffix(assign, &r->physical.path));
    if (!match) return {};

    Target target = {static_cast<Service*>(options->front().get()), {}};
    const std::string_view interpreter = lighty::view(match->value);
    if (!interpreter.empty()) target.command.emplace_back(interpreter);
    target.command.emplace_back(lighty::view(r->physical.path));
    return target;
}

}  // namespace wscgi
