// SPDX-License-Identifier: BSD-3-Clause
// The module at work in one lighttpd process: its services, and which of them a request is for.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "lighty/lighttpd.h"
#include "lighty/stop_signals.h"
#include "mod_fd_transfer/handoff.h"
#include "mod_fd_transfer/pool.h"
#include "mod_fd_transfer/routes.h"
#include "mod_fd_transfer/service.h"
#include "process/file_descriptor.h"

namespace fd_transfer {

class Transfer {
  public:
    // Reads and checks the configuration. False, logged, if it is wrong.
    bool configure(server* srv, PluginData* p);

    // In the process that serves: makes the queues and starts the workers. False, logged, if that
    // is impossible.
    bool start(server* srv);

    // Once a second.
    void trigger();

    // The server is about to close a connection, or to let it go.
    void forget(const connection* con) { returned_->forget(con); }

    // The service that this request is for at this stage; nullptr if there is none. The longest
    // prefix wins, whatever its stage.
    Service* service(request_st* r, Stage stage) const;

    // Whether any service is configured for this stage.
    bool serves(Stage stage) const;

    // Whether anybody reads the environment variables that we set for the access log.
    bool logged() const { return logged_; }

    // A socket that leads nowhere, to be put in the place of a client's.
    int unconnected() const { return unconnected_.get(); }

  private:
    // Where the directive stands: the global scope (0) or a condition.
    struct Scope {
        int condition;
        Routes<Service> routes;
    };

    static void before_stop(void* transfer);
    bool read_scope(server* srv, int condition, const config_plugin_value_t* value);
    bool add_scope(server* srv, int condition, const array& table);
    std::vector<std::string_view> prefixes(Stage stage) const;

    lighty::LogEntries log_entries_;  // before the services, who have some
    std::optional<ReturnedConnections> returned_;
    std::vector<Scope> scopes_;
    std::vector<std::unique_ptr<Service>> services_;
    std::optional<Pool> pool_;
    bool logged_ = false;
    lighty::StopSignals stop_signals_;
    process::FileDescriptor unconnected_;
};

}  // namespace fd_transfer
