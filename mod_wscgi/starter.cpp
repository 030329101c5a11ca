// SPDX-License-Identifier: BSD-3-Clause
// Starts the programs of sessions while the event loop goes on.
#include "mod_wscgi/starter.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "mod_wscgi/program.h"

namespace wscgi {
namespace {

constexpr int threads = 1;

// Programs that are being started: enough for the thread not to wait for us.
constexpr size_t at_once = 16;

}  // namespace

bool Ends::open_packets() {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return false;
    our_socket.reset(pair[0]);
    program_socket.reset(pair[1]);
    write_input.reset();
    read_output.reset();
    return fcntl(pair[0], F_SETFL, O_NONBLOCK) == 0;
}

std::string Starter::open(server* srv) {
    ignored_ = process::ignored_signals();
    if (!spawner_.open(threads)) return std::string("thread: ") + strerror(errno);
    // The spawner keeps its own, so that each is closed by its owner.
    const int fd = fcntl(spawner_.fd(), F_DUPFD_CLOEXEC, 3);
    if (!lighty::Watch::can_watch(srv, fd)) {
        if (fd >= 0) close(fd);
        spawner_.stop();
        return "no file descriptors left; raise server.max-fds";
    }
    watch_.open(srv, fd, ready, this);
    watch_.want(FDEVENT_IN);
    return {};
}

bool Starter::admit(Program* program, uint64_t& ticket) {
    if (!spawner_.is_open()) return true;
    if (!ticket) {
        ticket = ++last_ticket_;
        line_.emplace(ticket, program);
    }
    auto next = line_.begin();
    for (size_t left = room(); left > 0 && next != line_.end(); --left, ++next) {
        if (next->first != ticket) continue;
        line_.erase(next);
        ticket = 0;
        return true;
    }
    return false;
}

void Starter::leave(uint64_t ticket) {
    line_.erase(ticket);
    give_turns();
}

size_t Starter::room() const { return at_once - std::min(starting_, at_once); }

void Starter::give_turns() {
    auto next = line_.begin();
    for (size_t left = room(); left > 0 && next != line_.end(); --left, ++next)
        next->second->turn();
}

void Starter::start(std::unique_ptr<Launch> launch) {
    ++starting_;
    launch->number = table_.spawning();
    if (spawner_.is_open()) {
        launch->program.ignored = &ignored_;
        spawner_.start(std::move(launch));
    } else {
        launch->result = process::spawn(launch->program);
        finish(*launch);
    }
}

void Starter::abandon(Launch* launch) {
    const uint64_t number = launch->number;
    if (spawner_.is_open() && spawner_.cancel(launch))
        finished(number);
    else
        launch->waiting = nullptr;
}

handler_t Starter::ready(void* starter, int) {
    Starter& self = *static_cast<Starter*>(starter);
    if (!self.spawner_.is_open()) return HANDLER_FINISHED;
    for (const auto& order : self.spawner_.finished()) self.finish(static_cast<Launch&>(*order));
    return HANDLER_FINISHED;
}

void Starter::finish(Launch& launch) {
    const pid_t pid = launch.result.pid;
    if (launch.waiting) {
        launch.waiting->launched(launch);
    } else if (pid >= 0) {
        table_.started(pid, nullptr);
        table_.terminate(pid, launch.grace, log_monotonic_secs);
    }
    finished(launch.number);
}

void Starter::finished(uint64_t number) {
    table_.spawned(number);
    --starting_;
    give_turns();
}

void Starter::stop() {
    line_.clear();
    for (const auto& order : spawner_.stop()) {
        Launch& launch = static_cast<Launch&>(*order);
        launch.waiting = nullptr;
        finish(launch);
    }
    // There are no more turns of the event loop, at the end of which close() would close it.
    process::FileDescriptor(watch_.release());
}

}  // namespace wscgi
