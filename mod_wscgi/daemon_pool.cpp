// SPDX-License-Identifier: BSD-3-Clause
// The daemons that we start ourselves.
#include "mod_wscgi/daemon_pool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mod_wscgi/daemon.h"
#include "mod_wscgi/endpoint.h"
#include "mod_wscgi/program.h"
#include "mod_wscgi/statistics.h"
#include "process/pipes.h"
#include "process/spawn.h"

namespace wscgi {
namespace {

constexpr int listen_backlog = 1024;

std::string failed(const std::string& what) { return what + ": " + strerror(errno); }

std::string describe(int wait_status) {
    if (WIFSIGNALED(wait_status))
        return "was killed by signal " + std::to_string(WTERMSIG(wait_status));
    const int status = WEXITSTATUS(wait_status);
    return "exited with status " + std::to_string(status) +
           (status ? "" : "; it must stay in the foreground");
}

}  // namespace

DaemonPool::DaemonPool(const Endpoint& endpoint, process::ProgramTable& table, server* srv)
    : endpoint_(endpoint), table_(table), srv_(srv) {}

DaemonPool::~DaemonPool() {
    for (const auto& process : processes_) table_.disown(process->pid);
    if (!path_.empty()) unlink(path_.c_str());
    if (!directory_.empty()) rmdir(directory_.c_str());
}

std::string DaemonPool::start(Address& address) {
    address_ = &address;
    for (uint32_t i = 0; i < endpoint_.processes; ++i) {
        processes_.push_back(std::make_unique<Process>(*this));
        if (std::string error = spawn(*processes_.back()); !error.empty()) return error;
    }
    return {};
}

std::string DaemonPool::listen() {
    Address& address = *address_;
    if (address.size == 0) {
        char directory[] = "/tmp/wscgi-XXXXXX";
        if (!mkdtemp(directory)) return failed("mkdtemp");
        directory_ = directory;
        unix_address(directory_ + "/socket", address);
    }
    path_ = address.name;
    unlink(path_.c_str());
    const int type = endpoint_.framing == FramingKind::packet ? SOCK_SEQPACKET : SOCK_STREAM;
    listening_.reset(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    if (!listening_) return failed("socket");
    const auto* const target = reinterpret_cast<const struct sockaddr*>(&address.address);
    if (bind(listening_.get(), target, address.size) != 0) return failed("bind " + path_);
    if (::listen(listening_.get(), listen_backlog) != 0) return failed("listen " + path_);
    return {};
}

std::string DaemonPool::spawn(Process& process) {
    if (!listening_)
        if (std::string error = listen(); !error.empty()) return error;
    process::FileDescriptor null(open("/dev/null", O_WRONLY | O_CLOEXEC));
    process::Pipes pipes;
    if (!null || !pipes.open()) return failed("pipe");
    process::Environment environment;
    for (const auto& [name, value] : endpoint_.environment) environment.add(name, value);
    for (const std::string& name : endpoint_.copied_environment)
        if (const char* const value = getenv(name.c_str())) environment.add(name, value);
    if (const char* const path = getenv("PATH")) environment.add("PATH", path);

    const std::vector<char*> arguments = arguments_of(endpoint_.command);
    const std::string directory = directory_of(endpoint_, endpoint_.command[0]);
    const process::Spawned spawned = process::spawn({
        .path = arguments[0],
        .arguments = arguments.data(),
        .environment = environment.pointers(),
        .directory = directory.c_str(),
        .standard_input = listening_.get(),
        .standard_output = pipes.program_error.get(),
        .standard_error = pipes.program_error.get(),
        .limits = endpoint_.limits,
    });
    if (spawned.pid < 0)
        return std::string(spawned.failed) + " " + arguments[0] + ": " + strerror(spawned.error);
    count("wscgi.spawned");
    process.pid = spawned.pid;
    process.started = log_monotonic_secs;
    process.due = 0;
    table_.started(process.pid, &process);
    process.error.open(srv_, pipes.read_error.release(),
                       "wscgi " + endpoint_.prefix + " daemon " + std::to_string(process.pid));
    return {};
}

void DaemonPool::Process::program_exited(int status) {
    error.close();
    pid = -1;
    due = back_off.ended(started, log_monotonic_secs);
    log_error(pool.srv_->errh, __FILE__, __LINE__,
              "wscgi %s: daemon %s ended (%s), to be started again in %lld s",
              pool.endpoint_.prefix.c_str(), pool.endpoint_.command[0].c_str(),
              describe(status).c_str(), static_cast<long long>(due - log_monotonic_secs));
    pool.tick(log_monotonic_secs);
}

void DaemonPool::tick(int64_t now) {
    for (const auto& process : processes_) {
        if (process->pid >= 0 || process->due > now) continue;
        if (const std::string error = spawn(*process); !error.empty()) {
            process->due = process->back_off.ended(now, now);
            log_error(srv_->errh, __FILE__, __LINE__, "wscgi %s: %s", endpoint_.prefix.c_str(),
                      error.c_str());
        }
    }
    stop_listening_if_down(now);
}

void DaemonPool::stop_listening_if_down(int64_t now) {
    bool runs = false, stays = false;
    for (const auto& process : processes_) {
        runs = runs || process->pid >= 0;
        stays = stays || (process->pid >= 0 && now - process->started > endpoint_.connect_timeout);
    }
    if (stays) down_since_ = 0;
    if (runs) return;
    if (!down_since_) down_since_ = now;
    if (!listening_ || now - down_since_ < endpoint_.connect_timeout) return;
    log_error(srv_->errh, __FILE__, __LINE__,
              "wscgi %s: no daemon stays; sessions are refused until one does",
              endpoint_.prefix.c_str());
    unlink(path_.c_str());
    listening_.reset();  // resets the connections that nobody has accepted
}

}  // namespace wscgi
