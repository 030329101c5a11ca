// SPDX-License-Identifier: BSD-3-Clause
// The program of one session: its process, the channel to it, and how both end.
#pragma once

#include <memory>
#include <string>

#include "mod_wscgi/backend.h"
#include "mod_wscgi/error_output.h"
#include "process/program_table.h"

namespace wscgi {

struct Endpoint;
struct Launch;
class Starter;

class Program : public ChannelBackend, public process::ProgramTable::Owner {
  public:
    // `command` is the program and its arguments. What happens to the program is told by
    // `ready(context, ...)`, from the event loop. All arguments but the last must outlive the
    // program. `label` goes in front of its stderr in the log. With a starter, start() is pending
    // at first; without, the event loop waits until the program is executed.
    Program(const Endpoint& endpoint, const std::vector<std::string>& command,
            process::ProgramTable& table, Starter* starter, server* srv, fdevent_handler ready,
            void* context, std::string label);
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;
    // The process, if it still runs, is left to the table, which ends it.
    ~Program() override;

    bool may_start() override;
    Start start(process::Environment& environment, std::string& error) override;
    std::optional<ProgramEnd> ended() override;
    void end() override;
    void terminate() override;

    void program_exited(int status) override;

    // It may be its turn to be started.
    void turn() { ready_(context_, 0); }
    // It was started, or not, as the launch tells.
    void launched(Launch& launch);

    // Bytes for its input that it has not read yet, and that the pipe did not take.
    size_t kept() const { return channel_.kept(); }

  private:
    std::unique_ptr<Launch> prepare(process::Environment& environment);
    bool is_packets() const;

    const Endpoint& endpoint_;
    const std::vector<std::string>& command_;
    process::ProgramTable& table_;
    Starter* starter_;
    server* srv_;
    fdevent_handler ready_;
    void* context_;
    std::string label_;         // until it is started
    std::string failure_;       // why it was not started
    Launch* launch_ = nullptr;  // while it is being started
    uint64_t ticket_ = 0;       // until it is its turn
    bool begun_ = false;
    pid_t pid_ = -1;
    ErrorOutput error_;
    int64_t ending_ = 0;  // since when it is to end, seconds
    int64_t exited_ = 0;  // when it has exited
    std::optional<ProgramEnd> exit_;
};

// A command as execve(2) wants it, valid as long as `command` is.
std::vector<char*> arguments_of(const std::vector<std::string>& command);

// The directory a program runs in: the one `file` lies in, as CGI programs do, unless configured.
std::string directory_of(const Endpoint& endpoint, const std::string& file);

}  // namespace wscgi
