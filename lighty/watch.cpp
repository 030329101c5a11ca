// SPDX-License-Identifier: BSD-3-Clause
// A descriptor in lighttpd's event loop.
#include "lighty/watch.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace lighty {
namespace {

// A descriptor that lighttpd has been told to close. It is ours still as long as its number means
// the same file: every pipe and every socket has an inode of its own.
struct Scheduled {
    explicit Scheduled(int number) : fd(number) { known = fstat(fd, &file) == 0; }
    bool is_open() const {
        struct stat now;
        return known && fstat(fd, &now) == 0 && now.st_dev == file.st_dev &&
               now.st_ino == file.st_ino;
    }

    int fd;
    struct stat file = {};
    bool known;
};

std::vector<Scheduled> scheduled;
size_t many = 32;  // then it is time to forget those that lighttpd has closed

void remember(int fd) {
    if (scheduled.size() >= many) {
        std::erase_if(scheduled, [](const Scheduled& one) { return !one.is_open(); });
        many = std::max<size_t>(32, 2 * scheduled.size());
    }
    scheduled.emplace_back(fd);
}

}  // namespace

void Watch::open(server* srv, int fd, fdevent_handler ready, void* context) {
    srv_ = srv;
    node_ = fdevent_register(srv->ev, fd, ready, context);
    ++srv->cur_fds;  // fdevent_sched_close() counts down
    was_watched_ = false;
}

void Watch::want(int events) {
    if (!node_ || node_->events == events) return;
    was_watched_ = true;
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
    if (!was_watched_) {
        ::close(release());
        return;
    }
    remember(node_->fd);
    fdevent_fdnode_event_del(srv_->ev, node_);
    fdevent_sched_close(srv_->ev, std::exchange(node_, nullptr));
}

void close_scheduled() {
    for (const Scheduled& one : scheduled)
        if (one.is_open()) ::close(one.fd);
    scheduled.clear();
}

}  // namespace lighty
