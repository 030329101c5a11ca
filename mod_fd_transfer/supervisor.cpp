// SPDX-License-Identifier: BSD-3-Clause
// The process between lighttpd and the workers.
#include "mod_fd_transfer/supervisor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "mod_fd_transfer/worker_health.h"
#include "process/back_off.h"
#include "process/environment.h"
#include "process/spawn.h"
#include "process/termination.h"

extern char** environ;

namespace fd_transfer {
namespace {

// All times here are milliseconds: a worker that was killed is back at once, one that ends at once
// each time is started ever more slowly, after 1, 2, 4, 8 ... ms.
constexpr int64_t healthy_run = WorkerHealth::healthy_run;

int64_t now() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return int64_t(time.tv_sec) * 1000 + time.tv_nsec / 1000000;
}

process::Environment environment_of(const lighty::ProgramOptions& program) {
    process::Environment environment;
    for (const auto& [name, value] : program.environment) environment.add(name, value);
    const auto wanted = [&program](std::string_view name) {
        const auto& names = program.copied_environment;
        return names.empty() || std::find(names.begin(), names.end(), name) != names.end();
    };
    for (char** entry = environ; *entry; ++entry) {
        const std::string_view text(*entry);
        const size_t equals = text.find('=');
        if (equals != text.npos && wanted(text.substr(0, equals)))
            environment.add(text.substr(0, equals), text.substr(equals + 1));
    }
    return environment;
}

process::Spawned start_worker(const Supervised& service) {
    const lighty::ProgramOptions& program = service.settings->program;
    std::vector<char*> arguments;
    for (const std::string& word : program.command)
        arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    std::vector<process::ResourceLimit> limits;
    for (const auto& [resource, value] : program.limits) limits.push_back({resource, value});
    process::Environment environment = environment_of(program);
    const std::optional<lighty::User>& user = service.settings->user;
    const process::Identity identity =
        user ? process::Identity{user->id, user->group, user->groups} : process::Identity{};
    return process::spawn(
        {.path = arguments[0],
         .arguments = arguments.data(),
         .environment = environment.pointers(),
         .directory = program.directory.empty() ? nullptr : program.directory.c_str(),
         .standard_input = service.queue,
         .standard_output = STDERR_FILENO,
         .standard_error = STDERR_FILENO,
         .limits = limits,
         .identity = user ? &identity : nullptr,
         .death_signal = SIGTERM});
}

// A place for one worker: empty, running, or waiting until the next start is due.
struct Slot {
    uint32_t service;
    process::BackOff back_off;
    pid_t pid = -1;
    int64_t started = 0;
    int64_t due = 0;
    bool wanted = false;
    std::optional<process::Termination> termination = {};
};

class Supervisor {
  public:
    Supervisor(const std::vector<Supervised>& services, int control, int signals);
    void run();

  private:
    void start_due();
    void start(Slot& slot);
    void reap();
    void ended(Slot& slot, int status);
    void read_signals();
    void read_orders();
    void begin_ending();
    void tick_terminations();
    bool finished() const;
    int timeout() const;
    void tell(const Notice& notice) const;

    const std::vector<Supervised>& services_;
    std::vector<Slot> slots_;
    int control_;
    int signals_;
    bool ending_ = false;
};

Supervisor::Supervisor(const std::vector<Supervised>& services, int control, int signals)
    : services_(services), control_(control), signals_(signals) {
    for (uint32_t i = 0; i < services.size(); ++i) {
        const Settings& settings = *services[i].settings;
        for (int64_t n = 0; n < settings.workers; ++n)
            slots_.push_back({.service = i,
                              .back_off = {settings.restart_wait * 1000, healthy_run},
                              .wanted = services[i].wanted && services[i].queue >= 0});
    }
}

void Supervisor::run() {
    while (!finished()) {
        if (!ending_) start_due();
        pollfd watched[] = {{signals_, POLLIN, 0}, {ending_ ? -1 : control_, POLLIN, 0}};
        poll(watched, 2, timeout());
        if (watched[0].revents) read_signals();
        if (watched[1].revents) read_orders();
        if (ending_) tick_terminations();
    }
}

void Supervisor::start_due() {
    for (Slot& slot : slots_)
        if (slot.wanted && slot.pid < 0 && slot.due <= now()) start(slot);
}

void Supervisor::start(Slot& slot) {
    const process::Spawned spawned = start_worker(services_[slot.service]);
    slot.started = now();
    slot.pid = spawned.pid;
    Notice notice = {Notice::started, slot.service, spawned.pid, spawned.error, 0, {}};
    if (spawned.pid < 0) {
        slot.due = std::max(slot.back_off.ended(slot.started, slot.started), slot.started + 1);
        notice.kind = Notice::failed;
        strncpy(notice.step, spawned.failed, sizeof(notice.step) - 1);
    }
    tell(notice);
}

void Supervisor::reap() {
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        const auto slot = std::find_if(slots_.begin(), slots_.end(),
                                       [pid](const Slot& one) { return one.pid == pid; });
        if (slot != slots_.end()) ended(*slot, status);
    }
}

void Supervisor::ended(Slot& slot, int status) {
    kill(-slot.pid, SIGKILL);  // what the worker started must not outlive it
    const int64_t end = now();
    tell({Notice::ended, slot.service, slot.pid, status, end - slot.started, {}});
    slot.pid = -1;
    slot.termination.reset();
    slot.due = slot.back_off.ended(slot.started, end);
    if (WorkerHealth::is_configuration_error(status))
        slot.due = end + services_[slot.service].settings->restart_wait * 1000;
}

void Supervisor::read_signals() {
    signalfd_siginfo info;
    while (read(signals_, &info, sizeof(info)) == sizeof(info))
        if (info.ssi_signo == SIGTERM) begin_ending();
    reap();
}

void Supervisor::read_orders() {
    Order order;
    const ssize_t size = recv(control_, &order, sizeof(order), MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (size != sizeof(order)) return begin_ending();
    for (Slot& slot : slots_)
        if (slot.service == order.service) slot.wanted = services_[slot.service].queue >= 0;
}

// The queues end by themselves: lighttpd's ends are closed already, ours hold nothing open there.
void Supervisor::begin_ending() {
    if (ending_) return;
    ending_ = true;
    for (Slot& slot : slots_)
        if (slot.pid > 0)
            slot.termination.emplace(slot.pid, services_[slot.service].settings->grace * 1000,
                                     now());
}

void Supervisor::tick_terminations() {
    for (Slot& slot : slots_)
        if (slot.termination) slot.termination->tick(now());
}

bool Supervisor::finished() const {
    return ending_ &&
           std::all_of(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.pid < 0; });
}

// Milliseconds until something is due; -1: nothing is.
int Supervisor::timeout() const {
    if (ending_) return 200;
    int64_t next = INT64_MAX;
    for (const Slot& slot : slots_)
        if (slot.wanted && slot.pid < 0) next = std::min(next, slot.due);
    return next == INT64_MAX ? -1 : int(std::clamp<int64_t>(next - now(), 0, 60000));
}

void Supervisor::tell(const Notice& notice) const {
    send(control_, &notice, sizeof(notice), MSG_NOSIGNAL | (ending_ ? MSG_DONTWAIT : 0));
}

// Closes everything but standard descriptors and `kept`: lighttpd's listening sockets must not
// live on here.
void close_all_but(std::vector<int> kept) {
    std::sort(kept.begin(), kept.end());
    unsigned next = 3;
    for (const int fd : kept) {
        if (fd < 0) continue;  // the queue of a service that has none now
        if (unsigned(fd) > next) syscall(SYS_close_range, next, unsigned(fd) - 1, 0U);
        next = unsigned(fd) + 1;
    }
    syscall(SYS_close_range, next, ~0U, 0U);
}

int take_signals() {
    for (const int number : {SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM})
        signal(number, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_SETMASK, &set, nullptr);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

[[noreturn]] void supervise(const std::vector<Supervised>& services, int control) {
    prctl(PR_SET_NAME, "fd-transfer");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    std::vector<int> kept = {control};
    for (const Supervised& service : services) kept.push_back(service.queue);
    close_all_but(kept);
    Supervisor(services, control, take_signals()).run();
    _exit(0);
}

}  // namespace

process::FileDescriptor start_supervisor(const std::vector<Supervised>& services) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return {};
    process::FileDescriptor ours(pair[0]);
    const process::FileDescriptor theirs(pair[1]);

    const pid_t pid = fork();
    if (pid < 0) return {};
    if (pid == 0) {  // its child's parent is then init, not lighttpd
        setsid();
        if (fork() == 0) supervise(services, theirs.get());
        _exit(0);
    }
    waitpid(pid, nullptr, 0);
    return ours;
}

}  // namespace fd_transfer
