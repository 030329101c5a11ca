// SPDX-License-Identifier: BSD-3-Clause
// The program of one session.
#include "mod_wscgi/program.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>

#include "mod_wscgi/endpoint.h"
#include "mod_wscgi/starter.h"
#include "mod_wscgi/statistics.h"
#include "process/spawn.h"

namespace wscgi {

using process::FileDescriptor;

std::string directory_of(const Endpoint& endpoint, const std::string& file) {
    if (!endpoint.directory.empty()) return endpoint.directory;
    const size_t slash = file.rfind('/');
    return file.substr(0, slash == 0 ? 1 : slash);
}

std::vector<char*> arguments_of(const std::vector<std::string>& command) {
    std::vector<char*> arguments;
    for (const std::string& argument : command)
        arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    return arguments;
}

Program::Program(const Endpoint& endpoint, const std::vector<std::string>& command,
                 process::ProgramTable& table, Starter* starter, server* srv, fdevent_handler ready,
                 void* context, std::string label)
    : ChannelBackend(srv, ready, context),
      endpoint_(endpoint),
      command_(command),
      table_(table),
      starter_(starter),
      srv_(srv),
      ready_(ready),
      context_(context),
      label_(std::move(label)) {}

Program::~Program() {
    if (launch_) starter_->abandon(launch_);
    if (starter_ && !begun_) starter_->leave(ticket_);
    if (pid_ < 0) return;
    end();
    table_.disown(pid_);
    error_.close();
}

bool Program::may_start() { return begun_ || !starter_ || starter_->admit(this, ticket_); }

Backend::Start Program::start(process::Environment& environment, std::string& error) {
    if (!begun_) {
        begun_ = true;
        std::unique_ptr<Launch> launch = prepare(environment);
        if (launch && starter_) {
            launch_ = launch.get();
            starter_->start(std::move(launch));
        } else if (launch) {
            launch->result = process::spawn(launch->program);
            launched(*launch);
        } else if (starter_) {
            starter_->leave(0);
        }
    }
    if (launch_) return Start::pending;
    error = failure_;
    return pid_ >= 0 ? Start::ready : Start::failed;
}

// What is needed to start the program; null if it cannot be had.
std::unique_ptr<Launch> Program::prepare(process::Environment& environment) {
    auto launch = std::make_unique<Launch>();
    Ends& ends = launch->ends;
    if (!ends.open() || (is_packets() && !ends.open_packets())) {
        failure_ = std::string("pipe: ") + strerror(errno);
        return nullptr;
    }
    for (const FileDescriptor* ours :
         {&ends.write_input, &ends.read_output, &ends.read_error, &ends.our_socket}) {
        if (!*ours || lighty::Watch::can_watch(srv_, ours->get())) continue;
        failure_ = "no file descriptors left; raise server.max-fds";
        return nullptr;
    }
    launch->command = command_;
    launch->arguments = arguments_of(launch->command);
    launch->environment = std::move(environment);
    // An interpreter's directory is of no interest, its script's is.
    const bool is_script = endpoint_.command.empty() && command_.size() > 1;
    launch->directory = directory_of(endpoint_, command_[is_script ? 1 : 0]);
    launch->program = {
        .path = launch->arguments[0],
        .arguments = launch->arguments.data(),
        .environment = launch->environment.pointers(),
        .directory = launch->directory.c_str(),
        .standard_input = ends.program_in(),
        .standard_output = ends.program_out(),
        .standard_error = ends.program_error.get(),
        .limits = endpoint_.limits,
    };
    launch->grace = endpoint_.grace;
    launch->waiting = this;
    return launch;
}

void Program::launched(Launch& launch) {
    launch_ = nullptr;
    const process::Spawned& spawned = launch.result;
    pid_ = spawned.pid;
    if (pid_ < 0) {
        failure_ = std::string(spawned.failed) + " " + launch.program.path + ": " +
                   strerror(spawned.error);
    } else {
        count("wscgi.spawned");
        Ends& ends = launch.ends;
        error_.open(srv_, ends.read_error.release(), std::move(label_));
        if (is_packets())
            channel_.open_socket(ends.our_socket.release(), true);
        else
            channel_.open_pipes(ends.write_input.release(), ends.read_output.release());
        table_.started(pid_, this);
    }
    if (starter_) ready_(context_, 0);
}

bool Program::is_packets() const { return endpoint_.framing == FramingKind::packet; }

std::optional<ProgramEnd> Program::ended() {
    const int64_t now = log_monotonic_secs;
    // A grandchild that has left the process group may hold the pipe open for as long as it likes.
    if (exit_ && !channel_.output_ended() && now - exited_ > endpoint_.grace) channel_.end_output();
    if (!channel_.output_ended()) return std::nullopt;
    // SIGKILL was sent by then, but the kernel may keep a process that waits for a device.
    if (!exit_ && ending_ && now - ending_ > 2 * int64_t{endpoint_.grace} + 2)
        return ProgramEnd{ProgramEnd::Kind::overdue, 0};
    return exit_;
}

void Program::end() {
    channel_.close_input();
    if (pid_ < 0 || exit_) return;
    if (!ending_) ending_ = log_monotonic_secs;
    table_.end(pid_, endpoint_.grace, log_monotonic_secs);
}

void Program::terminate() {
    if (pid_ >= 0 && !exit_) table_.terminate(pid_, endpoint_.grace, log_monotonic_secs);
}

void Program::program_exited(int status) {
    exit_ = WIFSIGNALED(status) ? ProgramEnd{ProgramEnd::Kind::killed, WTERMSIG(status)}
                                : ProgramEnd{ProgramEnd::Kind::exited, WEXITSTATUS(status)};
    exited_ = log_monotonic_secs;
    ready_(context_, 0);
}

}  // namespace wscgi
