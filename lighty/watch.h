// SPDX-License-Identifier: BSD-3-Clause
// A descriptor in lighttpd's event loop, with one owner.
#pragma once

#include "lighty/lighttpd.h"

namespace lighty {

class Watch {
  public:
    Watch() = default;
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    ~Watch() { close(); }

    // Takes over `fd`, which must be non-blocking, and below srv->max_fds: check can_watch() first.
    // `ready(context, events)` is called from the event loop; it may read and write, but must leave
    // the connection's state to lighttpd: joblist_append(). No events are wanted at first.
    void open(server* srv, int fd, fdevent_handler ready, void* context);
    static bool can_watch(const server* srv, int fd) { return fd >= 0 && fd < srv->max_fds; }

    bool is_open() const { return node_ != nullptr; }
    int fd() const { return node_ ? node_->fd : -1; }

    // FDEVENT_IN, FDEVENT_OUT, or 0: then the descriptor leaves epoll altogether, because hang-ups
    // are reported there whether wanted or not, again and again.
    void want(int events);
    bool wants(int events) const { return node_ && (node_->events & events) == events; }

    // Leaves the event loop and gives the descriptor away; events that were fetched already must
    // not name it any more, so that it may be opened again by another Watch only.
    int release();

    // Closes the descriptor: at once if no events were ever wanted, else at the end of this turn of
    // the event loop, when no event that was fetched already can name it any more.
    void close();

  private:
    server* srv_ = nullptr;
    fdnode* node_ = nullptr;
    bool was_watched_ = false;
};

// Closes what Watch::close() has left to the end of a turn that does not come any more: lighttpd
// forgets it at a reload. To be called when all is over, last in a module's `cleanup`.
void close_scheduled();

}  // namespace lighty
