// SPDX-License-Identifier: BSD-3-Clause
// A service: one entry of the configuration at work, with its queue and the requests that wait.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lighty/lighttpd.h"
#include "mod_fd_transfer/backlog.h"
#include "mod_fd_transfer/channel.h"
#include "mod_fd_transfer/configuration.h"
#include "mod_fd_transfer/recovery.h"
#include "mod_fd_transfer/return.h"
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
    // `srv` and `returned` outlive the service.
    Service(Settings settings, server* srv, ReturnedConnections& returned);
    ~Service();

    const Settings& settings() const { return settings_; }
    Statistics& statistics() { return statistics_; }

    // Makes the queue, or connects to external workers, who may also come later. False if that is
    // impossible; then errno says why.
    bool open();
    // The end that workers which lighttpd starts inherit.
    int workers_fd() const;
    // `start` is called when the service is used for the first time.
    void on_first_use(std::function<void()> start) { start_ = std::move(start); }

    enum class Outcome { sent, full, too_big };
    // Sends the request's socket with `data`: the head, `head_length` bytes of them, and what was
    // read after it.
    Outcome send(request_st* r, std::span<const uint8_t> data, size_t head_length);
    // Bytes in the queue that no worker has received.
    int queued_bytes() const;

    // True if requests wait: a new one must queue up behind them.
    bool busy() const { return !backlog_.empty() || recovery_.has_lost(); }
    // False if the backlog is full.
    bool enqueue(Pending& pending);
    void forget(Pending& pending);

    void worker_started(pid_t pid);
    void worker_ended(pid_t pid);

    // Once a second.
    void trigger();

  private:
    // A channel and its place in the event loop.
    struct Line {
        Service* service;
        size_t index;
        Channel channel;
        fdnode* node;
        bool fuller;     // its workers say `taken`
        bool reachable;  // as logged last
    };

    static handler_t on_event(void* line, int events);
    void watch(Line& line);
    void hang_up(Line& line);
    void connect(Line& line);
    int wanted_events() const;
    void watch_for_room();

    Untaken duplicate(const request_st* r, std::span<const uint8_t> data, size_t head_length) const;
    bool wants_taken(const Line& line) const;
    bool send_record(Line& line, std::span<const uint8_t> data,
                     const process::HandoffRecord& record, int client, Untaken* untaken);

    void starve();
    void on_writable();
    void send_lost();
    void refuse_late();

    bool read_reply(Line& line);
    void take_reply(Line& line, std::span<const uint8_t> message,
                    process::ReceivedMessage& received);
    void take_back(const process::HandoffRecord& record, std::span<const uint8_t> message,
                   process::ReceivedFds& fds, pid_t sender);
    void reject(const char* fault, pid_t sender);
    void lose(Line& line);

    void look_after(Line& line, bool death);
    void continue_complete();
    void account_fds();

    Settings settings_;
    server* srv_;
    ReturnedConnections& returned_;
    Statistics statistics_;
    std::vector<std::unique_ptr<Line>> lines_;
    size_t next_line_ = 0;
    Backlog<Pending> backlog_;
    Recovery recovery_;
    std::function<void()> start_;
    int counted_fds_ = 0;  // of recovery_, in srv_->cur_fds
    // The kernel refuses what is no matter of room in the queue (ETOOMANYREFS, EMFILE ...): that
    // the queue is writable means nothing, trigger() tries again.
    bool starved_ = false;
    int64_t last_rejection_ = 0;
};

}  // namespace fd_transfer
