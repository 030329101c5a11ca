// SPDX-License-Identifier: BSD-3-Clause
// A last word before the server stops. lighttpd has no hook for that moment: a signal sets a flag,
// the event loop ends, and the logs are closed before any module is asked. So its signals come
// through here first: they wake the event loop, the work is done there, and then lighttpd's own
// handler is called, a turn later than it would have been.
#pragma once

#include "lighty/lighttpd.h"
#include "process/file_descriptor.h"

namespace lighty {

// At most one in a process at a time.
class StopSignals {
  public:
    using Callback = void (*)(void* context);

    StopSignals() = default;
    StopSignals(const StopSignals&) = delete;
    ~StopSignals() { close(); }

    // To be called in the process that serves, when lighttpd has set its handlers up. `before_stop`
    // is called in the event loop when SIGTERM, SIGINT or SIGUSR1 has come, each time. False if there
    // is no descriptor for it; see errno. Then lighttpd stops without.
    bool open(server* srv, Callback before_stop, void* context);

  private:
    static handler_t on_event(void* self, int events);
    void close();

    server* srv_ = nullptr;
    Callback before_stop_ = nullptr;
    void* context_ = nullptr;
    process::FileDescriptor woken_;  // an eventfd, which the handler writes to
    fdnode* node_ = nullptr;
};

}  // namespace lighty
