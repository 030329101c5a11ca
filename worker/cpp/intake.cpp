// SPDX-License-Identifier: BSD-3-Clause
// Where connections come from: queues, listening sockets and the drain signal behind one epoll.
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <unordered_map>
#include <utility>

#include "worker/cpp/linger.h"
#include "worker/cpp/listen.h"
#include "worker/cpp/queue.h"

namespace fdworker {
namespace {

constexpr int listen_fds_start = 3;  // SD_LISTEN_FDS_START
constexpr int accepted_flags = SOCK_CLOEXEC | SOCK_NONBLOCK;
constexpr time_t pause_time = 1;          // seconds at least, see pause()
constexpr std::uint32_t pause_end = 0;    // the number of that source; the others' begin with 1
constexpr std::uint32_t lingering = ~0u;  // and of this one
constexpr auto last_words_max = std::chrono::seconds(1);  // see ~Sources()

using Clock = std::chrono::steady_clock;

enum class Kind : std::uint8_t {
    drain_signal,
    pause_end,
    lingering,
    queue,
    handoff_listener,
    connection_listener
};

int option(int fd, int name) {
    int value = 0;
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

std::optional<Kind> kind_of(int fd) {
    const int type = option(fd, SO_TYPE);
    const bool listens = option(fd, SO_ACCEPTCONN) == 1;
    if (type == SOCK_SEQPACKET) return listens ? Kind::handoff_listener : Kind::queue;
    if (type == SOCK_STREAM && listens) return Kind::connection_listener;
    if (type != -1) errno = EINVAL;
    return {};
}

int announced_fds() {
    const char* count = getenv("LISTEN_FDS");
    const char* pid = getenv("LISTEN_PID");
    return count == nullptr || (pid != nullptr && atol(pid) != getpid()) ? 0 : atoi(count);
}

Socket open_drain_signal() {
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, nullptr);
    return Socket(signalfd(-1, &term, SFD_CLOEXEC | SFD_NONBLOCK));
}

// What accept4 left in errno. The caller comes back later for all but a connection that has gone.
Status accept_failed() {
    return errno == EAGAIN || errno == ECONNABORTED || errno == EINTR ? Status::empty
                                                                      : Status::system_error;
}

// Returns the size of the body, which the answer to HEAD does not have.
std::size_t write_refusal(int client, std::string_view head, int status, std::string_view reason) {
    const std::string number = std::to_string(status);
    std::string response = "HTTP/1.1 " + number + " ";
    response += reason;
    response += "\r\nContent-Type: text/plain\r\nConnection: close\r\n";
    if (status == 503) response += "Retry-After: 1\r\n";
    const std::size_t size = number.size() + reason.size() + 2;
    response += "Content-Length: " + std::to_string(size) + "\r\n\r\n";
    const bool has_body = !head.starts_with("HEAD ");
    if (has_body) response.append(number).append(" ").append(reason).append("\n");
    (void)!send(client, response.data(), response.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return has_body ? size : 0;
}

}  // namespace

class Intake::Sources {
  public:
    Sources(Delivery delivery, Reports reports);
    ~Sources();
    Status add(Socket socket);
    bool empty() const;
    int fd() const { return epoll_.fd(); }
    Status receive(Handoff& handoff);
    bool has_more() const { return unfinished_ != 0; }
    // Calls `work` with the queue that the ticket names, if there is one: not for an ordinary
    // connection, nor when the queue has ended.
    template <class Work>
    void with_queue_of(const Ticket& ticket, Work work);
    void flush();
    // Ends what may be a lingering close; the caller closes its fd.
    void end_connection(Ticket& ticket, int client, Answer answer);
    const std::shared_ptr<Linger>& linger() const { return linger_; }
    std::shared_ptr<Queue> queue_of(const Ticket& ticket) const;

  private:
    struct Source {
        Kind kind{};
        Socket socket;  // of all kinds but `queue` and `lingering`
        std::shared_ptr<Queue> queue;
        std::shared_ptr<Linger> linger;
        std::uint32_t events = 0;  // for which epoll waits
        bool paused = false;

        int fd() const { return queue ? queue->fd() : linger ? linger->fd() : socket.fd(); }
    };
    using SourceMap = std::unordered_map<std::uint32_t, Source>;

    void watch(Kind kind, Socket socket);
    void wait_for(std::uint32_t events, std::uint32_t number, Source& source);
    void wait_for_events(std::uint32_t number, Source& source);
    SourceMap::iterator forget(SourceMap::iterator source);
    Status receive_from(std::uint32_t number, Handoff& handoff);
    Socket accept_from(const Socket& listener);
    Status accept_queue(std::uint32_t number, Source& listener);
    void pause(std::uint32_t number, Source& source);
    void set_timer();
    bool descriptor_is_free() const;
    void end_pause(const Socket& timer);
    Status accept_connection(const Socket& listener, Handoff& handoff);
    Status drain();

    Delivery delivery_;
    Reports reports_;
    Socket epoll_{epoll_create1(EPOLL_CLOEXEC)};
    Socket spare_{open("/dev/null", O_RDONLY | O_CLOEXEC)};  // see accept_from()
    std::shared_ptr<Linger> linger_ = std::make_shared<Linger>();
    SourceMap sources_;
    std::uint32_t last_ = 0;        // the number given last
    std::uint32_t inherited_ = 0;   // the queue whose end means drain
    std::uint32_t unfinished_ = 0;  // the queue that has more of what came together; 0: none
    bool draining_ = false;
    bool pausing_ = false;  // some of them
    pid_t owner_ = getpid();
};

Intake::Sources::Sources(Delivery delivery, Reports reports)
    : delivery_(delivery), reports_(reports) {
    Source& timer = sources_[pause_end];
    timer.kind = Kind::pause_end;
    timer.socket = Socket(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    wait_for(EPOLLIN, pause_end, timer);
    Source& lingers = sources_[lingering];
    lingers.kind = Kind::lingering;
    lingers.linger = linger_;
    wait_for(EPOLLIN, lingering, lingers);
    watch(Kind::drain_signal, open_drain_signal());
    const int end = listen_fds_start + announced_fds();
    for (int fd = 0; fd < end; fd = fd == 0 ? listen_fds_start : fd + 1) {
        const auto kind = kind_of(fd);
        if (!kind) continue;  // fd 0 is a terminal, a file, or closed
        if (fd == 0 && *kind == Kind::queue) inherited_ = last_ + 1;
        watch(*kind, Socket(fd));
    }
}

// What a full queue has no room for gets a moment, since it was done; clients that linger have
// theirs.
Intake::Sources::~Sources() {
    if (getpid() != owner_) {  // a fork: epoll and the queues are its parent's too
        for (auto& [number, source] : sources_)
            if (source.queue) source.queue->forget();
        return;
    }
    drain();
    flush();
    const auto end = Clock::now() + last_words_max;
    const auto has_unsent = [](const auto& source) {
        return source.second.queue && source.second.queue->has_unsent();
    };
    for (;;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now());
        const bool waits_for_room =
            left.count() > 0 && std::any_of(sources_.begin(), sources_.end(), has_unsent);
        if (!waits_for_room && linger_->empty()) return;
        epoll_event event;
        epoll_wait(epoll_.fd(), &event, 1, waits_for_room ? int(left.count()) : -1);
        flush();
        linger_->run();
    }
}

Status Intake::Sources::add(Socket socket) {
    if (socket.fd() < 0) return Status::system_error;
    const auto kind = kind_of(socket.fd());
    if (!kind) return Status::system_error;
    watch(*kind, std::move(socket));
    return Status::ok;
}

void Intake::Sources::watch(Kind kind, Socket socket) {
    const int fd = socket.fd();
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    // A queue's flags are shared with siblings, and receiving does not need it.
    if (kind != Kind::queue) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    Source& source = sources_[++last_];
    source.kind = kind;
    if (kind == Kind::queue) {
        source.queue = std::make_shared<Queue>(std::move(socket), delivery_, reports_);
        source.queue->hello();
    } else {
        source.socket = std::move(socket);
    }
    wait_for_events(last_, source);
}

void Intake::Sources::wait_for(std::uint32_t events, std::uint32_t number, Source& source) {
    if (events == source.events) return;
    const int operation = source.events == 0 ? EPOLL_CTL_ADD
                          : events == 0      ? EPOLL_CTL_DEL
                                             : EPOLL_CTL_MOD;
    epoll_event event{.events = events, .data = {.u32 = number}};
    epoll_ctl(epoll_.fd(), operation, source.fd(), &event);
    source.events = events;
}

// Closing is not enough: epoll goes on with a socket that others have open too.
Intake::Sources::SourceMap::iterator Intake::Sources::forget(SourceMap::iterator source) {
    wait_for(0, source->first, source->second);
    return sources_.erase(source);
}

// The signal, the timer, and what lingers are always there.
bool Intake::Sources::empty() const { return sources_.size() < 4; }

Status Intake::Sources::receive(Handoff& handoff) {
    handoff = Handoff{};
    if (unfinished_ != 0) return receive_from(unfinished_, handoff);
    epoll_event event;
    // One at a time: what stays readable goes to the end of the kernel's list, so each has its
    // turn.
    while (epoll_wait(epoll_.fd(), &event, 1, 0) == 1)
        if (const Status status = receive_from(event.data.u32, handoff); status != Status::empty)
            return status;
    return Status::empty;
}

Status Intake::Sources::receive_from(std::uint32_t number, Handoff& handoff) {
    const auto found = sources_.find(number);
    if (found == sources_.end()) return Status::system_error;  // cannot be: see forget()
    Source& source = found->second;
    switch (source.kind) {
        case Kind::drain_signal: {
            signalfd_siginfo seen;
            (void)!read(source.socket.fd(), &seen, sizeof seen);
            return drain();
        }
        case Kind::pause_end:
            end_pause(source.socket);
            return Status::empty;
        case Kind::lingering:
            source.linger->run();
            return Status::empty;
        case Kind::handoff_listener:
            return accept_queue(number, source);
        case Kind::connection_listener:
            return accept_connection(source.socket, handoff);
        case Kind::queue:
            break;
    }
    if (draining_ || source.paused) {  // there is room; hand-offs that wait are for siblings
        source.queue->flush();
        wait_for_events(number, source);
        return Status::empty;
    }
    const Status status = source.queue->receive(handoff);
    handoff.ticket.queue = number;
    unfinished_ = source.queue->has_more() ? number : 0;
    if (status == Status::truncated_fds) pause(number, source);
    wait_for_events(number, source);
    if (status != Status::drained) return status;
    if (number == inherited_) return drain();
    forget(found);
    return Status::empty;
}

// None if there is nothing to accept (errno EAGAIN and the like), or no descriptor left: one is
// kept for that case, so that a connection which cannot be served is closed and does not wake us
// for ever.
Socket Intake::Sources::accept_from(const Socket& listener) {
    Socket accepted(accept4(listener.fd(), nullptr, nullptr, accepted_flags));
    if (accepted.fd() >= 0 || errno != EMFILE) return accepted;
    spare_.close();
    Socket(accept4(listener.fd(), nullptr, nullptr, accepted_flags)).close();
    spare_ = Socket(open("/dev/null", O_RDONLY | O_CLOEXEC));
    errno = EMFILE;
    return accepted;
}

// A server that is turned away connects again at once, so without a descriptor for it we leave it
// to our siblings, or for later.
Status Intake::Sources::accept_queue(std::uint32_t number, Source& listener) {
    Socket queue(accept4(listener.fd(), nullptr, nullptr, accepted_flags));
    if (queue.fd() >= 0) {
        watch(Kind::queue, std::move(queue));
        return Status::empty;
    }
    const Status status = accept_failed();
    if (status != Status::empty) pause(number, listener);
    return status;
}

// No descriptor is free for what comes from there: siblings may have one, and we have one later.
void Intake::Sources::pause(std::uint32_t number, Source& source) {
    const int error = errno;
    if (sources_[pause_end].fd() < 0) return;  // nothing would end it
    source.paused = true;
    wait_for_events(number, source);
    if (!std::exchange(pausing_, true)) set_timer();
    errno = error;
}

void Intake::Sources::set_timer() {
    const itimerspec moment{.it_interval = {}, .it_value = {.tv_sec = pause_time, .tv_nsec = 0}};
    timerfd_settime(sources_[pause_end].fd(), 0, &moment, nullptr);
}

bool Intake::Sources::descriptor_is_free() const {
    return Socket(fcntl(epoll_.fd(), F_DUPFD_CLOEXEC, 0)).fd() >= 0;
}

// Not before there is a descriptor: what is received without one comes to nothing, but for the end
// of a queue.
void Intake::Sources::end_pause(const Socket& timer) {
    std::uint64_t times;
    (void)!read(timer.fd(), &times, sizeof times);
    const bool is_free = descriptor_is_free();
    pausing_ = false;
    for (auto& [number, source] : sources_) {
        source.paused = source.paused && !is_free && !(source.queue && source.queue->has_ended());
        pausing_ = pausing_ || source.paused;
        wait_for_events(number, source);
    }
    if (pausing_) set_timer();
}

Status Intake::Sources::accept_connection(const Socket& listener, Handoff& handoff) {
    handoff.client = accept_from(listener);
    if (handoff.client.fd() < 0) return accept_failed();
    const int on = 1;  // fails harmlessly on unix sockets
    setsockopt(handoff.client.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    handoff.ticket.unread = Unread::unknown;
    return Status::ok;
}

// Queues stay open for what is still to be told, and what lingers goes on.
Status Intake::Sources::drain() {
    draining_ = true;
    for (auto source = sources_.begin(); source != sources_.end();) {
        if (source->second.queue) wait_for_events(source->first, source->second);
        source = source->second.queue || source->second.linger ? std::next(source) : forget(source);
    }
    return Status::drained;
}

// When there is room for what is still to be told, fd() is readable, and receive() tells it.
void Intake::Sources::wait_for_events(std::uint32_t number, Source& source) {
    std::uint32_t events = 0;
    if ((!draining_ && !source.paused) || source.linger) events |= EPOLLIN;
    if (source.queue && source.queue->has_unsent()) events |= EPOLLOUT;
    wait_for(events, number, source);
}

template <class Work>
void Intake::Sources::with_queue_of(const Ticket& ticket, Work work) {
    const auto found = sources_.find(ticket.queue);
    if (found == sources_.end() || !found->second.queue) return;
    work(*found->second.queue);
    if (delivery_ == Delivery::single) wait_for_events(found->first, found->second);
}

std::shared_ptr<Queue> Intake::Sources::queue_of(const Ticket& ticket) const {
    const auto found = sources_.find(ticket.queue);
    return found == sources_.end() ? nullptr : found->second.queue;
}

void Intake::Sources::end_connection(Ticket& ticket, int client, Answer answer) {
    const bool lingers = is_to_linger(ticket.unread, client);
    bool is_returned = false;
    with_queue_of(ticket, [&](Queue& queue) {
        is_returned = lingers && queue.end_connection(ticket, client, answer) == Status::ok;
        if (!is_returned) queue.done(ticket, answer);
    });
    if (is_returned) return;
    shutdown(client, SHUT_WR);
    if (!lingers) return;
    Socket ours(fcntl(client, F_DUPFD_CLOEXEC, 0));
    ours.fd() >= 0 ? linger_->add(std::move(ours)) : drop_unread(client);
}

void Intake::Sources::flush() {
    for (auto& [number, source] : sources_)
        if (source.queue) {
            source.queue->flush();
            wait_for_events(number, source);
        }
}

Intake::Intake(Delivery delivery, Reports reports)
    : sources_(std::make_unique<Sources>(delivery, reports)) {}
Intake::Intake(Intake&&) noexcept = default;
Intake& Intake::operator=(Intake&&) noexcept = default;
Intake::~Intake() = default;

Status Intake::add(Socket socket) { return sources_->add(std::move(socket)); }

Status Intake::listen_for_handoffs(const char* path) {
    return add(listen_at(path, SOCK_SEQPACKET));
}

Status Intake::listen_for_connections(const char* path) {
    return add(listen_at(path, SOCK_STREAM));
}

bool Intake::empty() const { return sources_->empty(); }

int Intake::fd() const { return sources_->fd(); }

Status Intake::receive(Handoff& handoff) {
    const Status status = sources_->receive(handoff);
    if (status == Status::truncated_fds && handoff.client.fd() >= 0)
        refuse(std::move(handoff), 503, "Service Unavailable");
    if (status == Status::ok && handoff.ticket.unread != Unread::none)
        handoff.client =
            Socket(handoff.client.release(),
                   std::make_unique<Socket::LingeringClose>(Socket::LingeringClose{
                       sources_->queue_of(handoff.ticket), sources_->linger(), handoff.ticket}));
    return status;
}

bool Intake::has_more() const { return sources_->has_more(); }

void Intake::flush() { sources_->flush(); }

void Intake::taken(Ticket& ticket) {
    sources_->with_queue_of(ticket, [&](Queue& queue) { queue.taken(ticket); });
}

void Intake::done(Ticket& ticket, Answer answer) {
    sources_->with_queue_of(ticket, [&](Queue& queue) { queue.done(ticket, answer); });
}

Status Intake::return_socket(Ticket& ticket, int client, std::string_view unread, Answer answer) {
    Status status = Status::not_returnable;
    sources_->with_queue_of(ticket, [&](Queue& queue) {
        status = queue.return_socket(ticket, client, unread, answer);
    });
    return status;
}

void Intake::end_connection(Ticket& ticket, int client, Answer answer) {
    sources_->end_connection(ticket, client, answer);
}

void Intake::end_connection(Handoff handoff, Answer answer) {
    end_connection(handoff.ticket, handoff.client.fd(), answer);
}

void Intake::limit_lingering(std::size_t connections, std::chrono::milliseconds time) {
    sources_->linger()->set_limits(connections, time);
}

void Intake::refuse(Handoff handoff, int status, std::string_view reason) {
    const std::size_t size = write_refusal(handoff.client.fd(), handoff.head(), status, reason);
    end_connection(handoff.ticket, handoff.client.fd(), {status, size});
    if (handoff.ticket.unread == Unread::none) drop_unread(handoff.client.fd());
}

}  // namespace fdworker
