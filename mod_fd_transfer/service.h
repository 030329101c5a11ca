// SPDX-License-Identifier: BSD-3-Clause
// A service: one entry of the configuration at work, with its queue and the requests that wait.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lighty/lighttpd.h"
#include "mod_fd_transfer/batch.h"
#include "mod_fd_transfer/channel.h"
#include "mod_fd_transfer/configuration.h"
#include "mod_fd_transfer/deferred_log.h"
#include "mod_fd_transfer/in_vain.h"
#include "mod_fd_transfer/pending.h"
#include "mod_fd_transfer/recovery.h"
#include "mod_fd_transfer/return.h"
#include "mod_fd_transfer/statistics.h"
#include "mod_fd_transfer/worker_health.h"

namespace fd_transfer {

class Service {
  public:
    // `srv`, `returned` and `log_entries` outlive the service.
    Service(Settings settings, server* srv, ReturnedConnections& returned,
            lighty::LogEntries& log_entries);
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

    // Whether a connection that is handed over now would be kept, see hold(). Only of TCP does the
    // kernel tell how far an answer has come.
    bool keeps(const connection* con) const;

    enum class Outcome {
        sent,  // the worker's now
        held,  // sent, and to be kept: hold()
        full,
        too_big,
        unreadable,  // its body, in a temporary file of lighttpd's
    };
    // Sends the request's socket with `data`: the head, `head_length` bytes of them, and what was
    // read after it. Sets `untaken` if the outcome is `held`, and its id if it is `sent`.
    Outcome send(request_st* r, std::span<const uint8_t> data, size_t head_length,
                 Untaken& untaken);
    // Keeps a request that has been sent, until its worker says what becomes of it.
    void hold(Pending& pending) { recovery_.keep(pending); }
    // A request that is to go out at the end of this turn of the event loop.
    void put_off(Pending& pending);
    // Sends those that were put off and can go out together: they are held then. What is still
    // put off after that goes out by itself.
    void send_put_off();
    // Bytes in the queue that no worker has received.
    int queued_bytes() const;

    // Whether workers end as soon as they are started, so that nobody should wait for them.
    bool down() const { return health_.down() && lines_.front()->node; }
    // True if requests wait: a new one must queue up behind them.
    bool busy() const { return !backlog_.empty() || recovery_.first_lost(); }
    // False if the backlog is full.
    bool enqueue(Pending& pending);
    // The request ends, or leaves the backlog.
    void forget(Pending& pending);

    // --- the access log ---
    // lighttpd is about to let the connection of a request go that was sent and not kept (claimed by
    // our hook at `since`), or of one that a worker has acknowledged.
    void log_sent(request_st* r, const Untaken& sent, int64_t since);
    void log_leaving(const Pending& pending);
    // The request ends otherwise, because the client has gone or the server ends.
    void log_abandoned(Pending& pending);
    // Writes what is still to be written: the server ends.
    void flush_log();

    void worker_started(pid_t pid);
    // `status` is that of waitpid(2), `ran` milliseconds.
    void worker_ended(pid_t pid, int status, int64_t ran);
    void worker_failed();
    // The supervisor is another one from now on: what has become of its workers is not known.
    void workers_forgotten();
    // Makes a new queue if workers that lighttpd starts have shut the old one down. True if there
    // is one: they must be started anew.
    bool reopen();

    // Once a second.
    void trigger();

  private:
    // A request in the queue whose connection lighttpd does not keep.
    struct Sent {
        int64_t since;  // seconds, when it was claimed by our hook
        lighty::LogEntry log_entry;  // none: beyond the bound, and logged already
    };

    // A channel and its place in the event loop.
    struct Line {
        Service* service;
        size_t index;
        Channel channel = {};
        fdnode* node = nullptr;
        int64_t since = 0;      // seconds
        bool deaf = false;      // its workers have shut it down for reading
        bool silent = false;    // its workers have said all that they ever will
        bool reachable = true;  // as logged last
        bool fuller = false;    // its workers say `taken`
        bool batches = false;   // a worker takes several requests at once
        bool singles = false;   // a worker does not
        bool says_done = false;     // a worker tells how its answers end
        bool says_nothing = false;  // a worker does not
        pid_t worker = 0;           // who said hello last
        size_t settle_at = 0;  // entries of `sent`
        std::map<uint64_t, Sent> sent = {};  // by id; bounded by the queue: those that were received leave it later
    };

    static handler_t on_event(void* line, int events);
    void watch(Line& line);
    void hang_up(Line& line);
    void connect(Line& line);
    int wanted_events(const Line& line) const;
    void watch_for_room();

    Line& next_line() { return *lines_[next_line_++ % lines_.size()]; }
    bool wants_taken(const Line& line) const;
    size_t send_together(std::span<Pending* const> requests);
    bool add(Batch& batch, const Line& line, Pending& pending);
    bool send_record(Line& line, request_st* r, std::span<const uint8_t> data,
                     const process::HandoffRecord& record);

    void starve();
    void settle_received(Line& line);
    bool is_late(const Line& line, uint64_t id) const;
    void take_back_late(Line& line);
    void take_back_all(Line& line, bool refuse_kept);
    bool take_back_first(Line& line, bool refuse_kept);
    void give_up(Line& line, const process::HandoffRecord& record, process::FileDescriptor client,
                 bool refuse_kept);
    void refuse_all();

    void on_writable();
    void send_lost();
    bool send_again(Pending& lost);
    void refuse_late();
    void refuse_waiting(Pending& pending);
    void leave_backlog(Pending& pending);
    bool has_received();

    bool read_replies(Line& line);
    bool read_reply(Line& line);
    void take_replies(Line& line, process::ReceivedMessage& received, size_t fd_count);
    void take_reply(Line& line, const process::HandoffRecord& record,
                    const process::HandoffReader& reader, process::ReceivedMessage& received);
    const char* accept_returned(const process::HandoffRecord& record,
                                const process::HandoffReader& reader, process::ReceivedFds& fds);
    const char* accept_kept(Pending& own, const process::HandoffRecord& record,
                            std::span<const uint8_t> unread, const Answer& answer);
    const char* adopt(const process::HandoffRecord& record, std::span<const uint8_t> unread,
                      const Answer& answer, process::FileDescriptor client);
    void on_hello(Line& line, const process::HandoffRecord& record, pid_t sender);
    void on_taken(uint64_t id, pid_t sender);
    void on_done(uint64_t id, pid_t sender, const Answer& answer);
    bool goes_round(int socket, std::span<const uint8_t> unread);
    void reject(const char* fault, pid_t sender);
    // Only in the line's own event, or by timer: in that of another the event loop may have one of
    // this line still to come, and it would come to a node that is freed.
    void lose(Line& line);

    void look_after(Line& line, bool death);
    void go_on(Pending& pending, std::span<const uint8_t> unread, bool answered);
    int status_of(const Answer& answer) const {
        return answer.status ? answer.status : int(settings_.log_status);
    }
    bool will_be_told(const Pending& pending) const;
    static void write_log(Sent& sent, int status, uint64_t bytes);
    void defer_log(const Pending& pending, int status);

    Settings settings_;
    server* srv_;
    ReturnedConnections& returned_;
    Statistics statistics_;
    std::vector<std::unique_ptr<Line>> lines_;
    size_t next_line_ = 0;
    std::vector<Pending*> put_off_;
    Backlog<Pending> backlog_;
    Recovery recovery_;
    ReturnsInVain in_vain_;
    WorkerHealth health_;
    uint64_t last_sent_ = 0;         // id
    uint64_t first_unreceived_ = 1;  // id, when the last worker ended
    lighty::LogEntries& log_entries_;
    DeferredLog deferred_log_;
    std::map<uint64_t, Pending*> leaving_;  // acknowledged, and lighttpd has not come to them yet
    std::function<void()> start_;
    // The kernel refuses what is no matter of room in the queue (ETOOMANYREFS, EMFILE ...): that
    // the queue is writable means nothing, trigger() tries again.
    bool starved_ = false;
    int64_t last_rejection_ = 0;
};

}  // namespace fd_transfer
