// SPDX-License-Identifier: BSD-3-Clause
// A service: one entry of the configuration at work, with its queue and the requests that wait.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lighty/lighttpd.h"
#include "mod_fd_transfer/backlog.h"
#include "mod_fd_transfer/channel.h"
#include "mod_fd_transfer/configuration.h"
#include "mod_fd_transfer/statistics.h"

namespace fd_transfer {

class Service;

// A request of ours that could not be handed over at once. Lives until lighttpd resets the request.
struct Pending {
    enum class State {
        claimed,  // nothing tried yet
        waiting,  // in the backlog
        sent,     // a worker has it: leave without a word
        refused,  // 503
    };

    request_st* request;
    Service* service;
    std::string head;  // what lighttpd no longer has: request line, header fields, empty line
    State state = State::claimed;
    Backlog<Pending>::Place place = {};
};

class Service {
  public:
    Service(Settings settings, server* srv);
    ~Service();

    const Settings& settings() const { return settings_; }
    Statistics& statistics() { return statistics_; }

    // Makes the queue, or connects to external workers; false if that is impossible (then errno
    // says why).
    bool open();
    void close();
    // The end that workers which lighttpd starts inherit.
    int workers_fd() const;

    enum class Outcome { sent, full, too_big };
    // Sends the request's socket with `data`: the head, `head_length` bytes of them, and what was
    // read after it.
    Outcome send(request_st* r, std::span<const uint8_t> data, size_t head_length);

    // True if requests wait: a new one must queue up behind them.
    bool busy() const { return !backlog_.empty(); }
    // False if the backlog is full.
    bool enqueue(Pending& pending);
    void forget(Pending& pending);

    void worker_started(pid_t pid);
    void worker_ended(pid_t pid);

    // Once a second.
    void trigger();

  private:
    struct Line;  // a channel and its place in the event loop

    static handler_t on_event(void* line, int events);
    void on_writable();
    void watch_for_room();
    void refuse_late();

    Settings settings_;
    server* srv_;
    Statistics statistics_;
    std::vector<std::unique_ptr<Line>> lines_;
    size_t next_line_ = 0;
    Backlog<Pending> backlog_;
    uint64_t next_id_ = 1;
};

}  // namespace fd_transfer
