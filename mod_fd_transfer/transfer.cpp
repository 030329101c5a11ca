// SPDX-License-Identifier: BSD-3-Clause
// The module at work in one lighttpd process.
#include "mod_fd_transfer/transfer.h"

#include <sys/socket.h>

#include <algorithm>

#include "lighty/options.h"
#include "mod_fd_transfer/authorizers.h"

namespace fd_transfer {

bool Transfer::configure(server* srv, PluginData* p) {
    if (!config_plugin_values_init(srv, p, directives, "mod_fd_transfer")) return false;
    returned_.emplace(p->id);
    bool good = true;
    for (int i = 0; i < p->nconfig; ++i) {
        const config_plugin_value_t* value = p->cvlist + p->cvlist[i].v.u2[0];
        if (i == 0 && !p->cvlist[0].v.u2[1]) continue;  // nothing in the global scope
        good = read_scope(srv, p->cvlist[i].k_id, value) && good;
    }
    return authorizers_come_first(srv, prefixes(Stage::uri)) && good;
}

std::vector<std::string_view> Transfer::prefixes(Stage stage) const {
    std::vector<std::string_view> found;
    for (const auto& service : services_)
        if (service->settings().stage == stage) found.push_back(service->settings().prefix);
    return found;
}

bool Transfer::read_scope(server* srv, int condition, const config_plugin_value_t* value) {
    const array* table = nullptr;
    for (; value->k_id != -1; ++value) {
        if (value->k_id == accesslog_format) {
            logged_ |= lighty::view(value->v.b).find("FD_TRANSFER_") != std::string_view::npos;
        } else if (table) {
            lighty::report(srv->errh, "fd_transfer.services",
                           "is another name for fd-transfer.server, and both stand in one scope",
                           "write all services into fd-transfer.server");
            return false;
        } else {
            table = value->v.a;
        }
    }
    return !table || add_scope(srv, condition, *table);
}

bool Transfer::add_scope(server* srv, int condition, const array& table) {
    std::vector<Settings> read;
    if (!read_services(table, srv->errh, read)) return false;
    Scope& scope = scopes_.emplace_back(Scope{condition, {}});
    for (Settings& settings : read) {
        services_.push_back(
            std::make_unique<Service>(std::move(settings), srv, *returned_, log_entries_));
        scope.routes.add(services_.back()->settings().prefix, services_.back().get());
    }
    return true;
}

bool Transfer::start(server* srv) {
    unconnected_ = process::FileDescriptor(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!unconnected_) {
        log_perror(srv->errh, __FILE__, __LINE__, "fd-transfer: socket()");
        return false;
    }
    for (const auto& service : services_) {
        if (service->open()) continue;
        log_perror(srv->errh, __FILE__, __LINE__,
                   "fd-transfer.server \"%s\": cannot make the queue",
                   service->settings().prefix.c_str());
        return false;
    }
    if (!stop_signals_.open(srv, before_stop, this)) {
        log_perror(srv->errh, __FILE__, __LINE__, "fd-transfer: eventfd()");
        return false;
    }
    pool_.emplace(services_, srv);
    return pool_->start();
}

void Transfer::trigger() {
    if (!pool_) return;  // the parent of server.max-worker processes
    pool_->trigger();
    for (const auto& service : services_) service->trigger();
}

// The access log is closed before the modules are asked to clean up.
void Transfer::before_stop(void* transfer) {
    for (const auto& service : static_cast<Transfer*>(transfer)->services_) service->flush_log();
}

bool Transfer::serves(Stage stage) const {
    return std::any_of(services_.begin(), services_.end(), [stage](const auto& service) {
        return service->settings().stage == stage;
    });
}

Service* Transfer::service(request_st* r, Stage stage) const {
    // As everywhere in lighttpd, the last scope that holds replaces those before it.
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
        if (scope->condition != 0 && !config_check_cond(r, scope->condition)) continue;
        Service* const found = scope->routes.find(lighty::view(r->uri.path));
        return found && found->settings().stage == stage ? found : nullptr;
    }
    return nullptr;
}

}  // namespace fd_transfer
