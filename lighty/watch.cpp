// SPDX-License-Identifier: BSD-3-Clause
// A descriptor in lighttpd's event loop.
#include "lighty/watch.h"

#include <utility>

namespace lighty {

void Watch::open(server* srv, int fd, fdevent_handler ready, void* context) {
    srv_ = srv;
    node_ = fdevent_register(srv->ev, fd, ready, context);
    ++srv->cur_fds;  // fdevent_sched_close() counts down
}

void Watch::want(int events) {
    if (!node_ || node_->events == events) return;
    if (events)
        fdevent_fdnode_event_set(srv_->ev, node_, events);
    else
        fdevent_fdnode_event_del(srv_->ev, node_);
}

int Watch::release() {
    if (!node_) return -1;
    const int fd = node_->fd;
    fdevent_fdnode_event_del(srv_->ev, node_);
    fdevent_unregister(srv_->ev, std::exchange(node_, nullptr));
    --srv_->cur_fds;
    return fd;
}

void Watch::close() {
    if (!node_) return;
    fdevent_fdnode_event_del(srv_->ev, node_);
    fdevent_sched_close(srv_->ev, std::exchange(node_, nullptr));
}

}  // namespace lighty
