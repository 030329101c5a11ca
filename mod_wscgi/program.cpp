// SPDX-License-Identifier: BSD-3-Clause
// The program of one session.
#include "mod_wscgi/program.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "mod_wscgi/endpoint.h"
#include "process/pipes.h"
#include "process/spawn.h"

namespace wscgi {
namespace {

// Programs expect to be in the directory they lie in, as CGI programs are.
std::string directory_of(const Endpoint& endpoint) {
    if (!endpoint.directory.empty()) return endpoint.directory;
    const size_t slash = endpoint.command[0].rfind('/');
    return endpoint.command[0].substr(0, slash == 0 ? 1 : slash);
}

std::vector<char*> arguments_of(const Endpoint& endpoint) {
    std::vector<char*> arguments;
    for (const std::string& argument : endpoint.command)
        arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    return arguments;
}

}  // namespace

Program::Program(connection* con, process::ProgramTable& table) : con_(con), table_(table) {}

Program::~Program() {
    if (pid_ < 0) return;
    table_.disown(pid_);
    error_.close();
    if (!ended_) table_.end(pid_, grace_, log_monotonic_secs);
}

handler_t Program::ready(void* context, int) {
    joblist_append(static_cast<Program*>(context)->con_);
    return HANDLER_FINISHED;
}

std::string Program::start(const Endpoint& endpoint, process::Environment& environment,
                           const std::string& label) {
    server* const srv = con_->srv;
    process::Pipes pipes;
    if (!pipes.open()) return std::string("pipe: ") + strerror(errno);
    for (const process::FileDescriptor* ours :
         {&pipes.write_input, &pipes.read_output, &pipes.read_error})
        if (!lighty::Watch::can_watch(srv, ours->get()))
            return "no file descriptors left; raise server.max-fds";

    const std::vector<char*> arguments = arguments_of(endpoint);
    const std::string directory = directory_of(endpoint);
    const process::Spawned spawned = process::spawn({
        .path = arguments[0],
        .arguments = arguments.data(),
        .environment = environment.pointers(),
        .directory = directory.c_str(),
        .standard_input = pipes.program_input.get(),
        .standard_output = pipes.program_output.get(),
        .standard_error = pipes.program_error.get(),
    });
    if (spawned.pid < 0)
        return std::string(spawned.failed) + " " + arguments[0] + ": " + strerror(spawned.error);

    pid_ = spawned.pid;
    grace_ = endpoint.grace;
    table_.started(pid_, this);
    input_.open(srv, pipes.write_input.release(), ready, this);
    output_.open(srv, pipes.read_output.release(), ready, this);
    error_.open(srv, pipes.read_error.release(), label);
    return {};
}

void Program::write(const Gathered& pieces) {
    if (!input_.is_open() || pieces.empty()) return;
    if (input_blocked()) return keep(pieces, 0);
    std::array<struct iovec, 512> vector;
    const size_t count = std::min(pieces.size(), vector.size());
    for (size_t i = 0; i < count; ++i)
        vector[i] = {const_cast<uint8_t*>(pieces[i].data()), pieces[i].size()};
    const ssize_t size = ::writev(input_.fd(), vector.data(), static_cast<int>(count));
    if (size < 0 && errno != EAGAIN && errno != EINTR) {
        input_.close();  // the program has closed its stdin: it wants no more
        return;
    }
    keep(pieces, size > 0 ? static_cast<size_t>(size) : 0);
}

void Program::keep(const Gathered& pieces, size_t skip) {
    for (const std::span<const uint8_t> piece : pieces) {
        const size_t skipped = std::min(skip, piece.size());
        skip -= skipped;
        kept_.insert(kept_.end(), piece.begin() + static_cast<ptrdiff_t>(skipped), piece.end());
    }
    if (input_blocked()) input_.want(FDEVENT_OUT);
}

void Program::flush() {
    if (input_.is_open() && input_blocked()) {
        const ssize_t size = ::write(input_.fd(), kept_.data() + written_, kept_.size() - written_);
        if (size > 0) written_ += static_cast<size_t>(size);
        if (size < 0 && errno != EAGAIN && errno != EINTR) input_.close();
    }
    if (input_.is_open() && input_blocked()) return;
    std::vector<uint8_t>().swap(kept_);
    written_ = 0;
    input_.want(0);
    if (close_input_) input_.close();
}

void Program::close_input() {
    close_input_ = true;
    if (!input_blocked()) input_.close();
}

size_t Program::read(std::span<uint8_t> space) {
    if (output_ended_) return 0;
    const ssize_t size = ::read(output_.fd(), space.data(), space.size());
    if (size > 0) return static_cast<size_t>(size);
    // A grandchild that has left the process group may hold the pipe open for as long as it likes.
    const bool overdue = ended_ && log_monotonic_secs - exited_ > grace_;
    if (size < 0 && (errno == EAGAIN || errno == EINTR) && !overdue) return 0;
    output_ended_ = true;
    output_.close();
    return 0;
}

std::optional<ProgramEnd> Program::ended() const {
    // SIGKILL was sent by then, but the kernel may keep a process that waits for a device.
    if (!ended_ && ending_ && log_monotonic_secs - ending_ > 2 * int64_t{grace_} + 2)
        return ProgramEnd{ProgramEnd::Kind::overdue, 0};
    return ended_;
}

void Program::end() {
    close_input();
    if (pid_ < 0 || ended_) return;
    if (!ending_) ending_ = log_monotonic_secs;
    table_.end(pid_, grace_, log_monotonic_secs);
}

void Program::terminate() {
    if (pid_ >= 0 && !ended_) table_.terminate(pid_, grace_, log_monotonic_secs);
}

void Program::program_exited(int status) {
    ended_ = WIFSIGNALED(status) ? ProgramEnd{ProgramEnd::Kind::killed, WTERMSIG(status)}
                                 : ProgramEnd{ProgramEnd::Kind::exited, WEXITSTATUS(status)};
    exited_ = log_monotonic_secs;
    joblist_append(con_);
}

}  // namespace wscgi
