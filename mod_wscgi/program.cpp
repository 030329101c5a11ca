// SPDX-License-Identifier: BSD-3-Clause
// The program of one session.
#include "mod_wscgi/program.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "mod_wscgi/endpoint.h"
#include "mod_wscgi/statistics.h"
#include "process/pipes.h"
#include "process/spawn.h"

namespace wscgi {

using process::FileDescriptor;

// The descriptors between us and the program: three pipes; or for packets a socket pair instead of
// the first two, of which input and output are the same descriptor.
struct Program::Ends : process::Pipes {
    FileDescriptor our_socket, program_socket;

    bool open_packets() {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return false;
        our_socket.reset(pair[0]);
        program_socket.reset(pair[1]);
        write_input.reset();
        read_output.reset();
        return fcntl(pair[0], F_SETFL, O_NONBLOCK) == 0;
    }
    int program_in() const { return program_socket ? program_socket.get() : program_input.get(); }
    int program_out() const { return program_socket ? program_socket.get() : program_output.get(); }
};

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
                 process::ProgramTable& table, server* srv, fdevent_handler ready, void* context,
                 std::string label)
    : ChannelBackend(srv, ready, context),
      endpoint_(endpoint),
      command_(command),
      table_(table),
      srv_(srv),
      ready_(ready),
      context_(context),
      label_(std::move(label)) {}

Program::~Program() {
    if (pid_ < 0) return;
    end();
    table_.disown(pid_);
    error_.close();
}

Backend::Start Program::start(process::Environment& environment, std::string& error) {
    Ends ends;
    const bool packets = endpoint_.framing == FramingKind::packet;
    if (!ends.open() || (packets && !ends.open_packets())) {
        error = std::string("pipe: ") + strerror(errno);
        return Start::failed;
    }
    for (const FileDescriptor* ours :
         {&ends.write_input, &ends.read_output, &ends.read_error, &ends.our_socket}) {
        if (!*ours || lighty::Watch::can_watch(srv_, ours->get())) continue;
        error = "no file descriptors left; raise server.max-fds";
        return Start::failed;
    }
    if (!spawn(ends, environment, error)) return Start::failed;

    table_.started(pid_, this);
    error_.open(srv_, ends.read_error.release(), std::move(label_));
    if (packets)
        channel_.open_socket(ends.our_socket.release(), true);
    else
        channel_.open_pipes(ends.write_input.release(), ends.read_output.release());
    return Start::ready;
}

bool Program::spawn(const Ends& ends, process::Environment& environment, std::string& error) {
    const std::vector<char*> arguments = arguments_of(command_);
    // An interpreter's directory is of no interest, its script's is.
    const bool is_script = endpoint_.command.empty() && command_.size() > 1;
    const std::string directory = directory_of(endpoint_, command_[is_script ? 1 : 0]);
    const process::Spawned spawned = process::spawn({
        .path = arguments[0],
        .arguments = arguments.data(),
        .environment = environment.pointers(),
        .directory = directory.c_str(),
        .standard_input = ends.program_in(),
        .standard_output = ends.program_out(),
        .standard_error = ends.program_error.get(),
        .limits = endpoint_.limits,
    });
    pid_ = spawned.pid;
    if (pid_ >= 0)
        count("wscgi.spawned");
    else
        error = std::string(spawned.failed) + " " + arguments[0] + ": " + strerror(spawned.error);
    return pid_ >= 0;
}

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
