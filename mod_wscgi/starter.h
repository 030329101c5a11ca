// SPDX-License-Identifier: BSD-3-Clause
// Starts the programs of sessions while the event loop goes on.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lighty/watch.h"
#include "process/environment.h"
#include "process/pipes.h"
#include "process/program_table.h"
#include "process/spawner.h"

namespace wscgi {

struct Endpoint;
class Program;

// The descriptors between us and a program: three pipes; or for packets a socket pair instead of
// the first two, of which input and output are the same descriptor.
struct Ends : process::Pipes {
    process::FileDescriptor our_socket, program_socket;

    bool open_packets();
    int program_in() const { return program_socket ? program_socket.get() : program_input.get(); }
    int program_out() const { return program_socket ? program_socket.get() : program_output.get(); }
};

// A program that is being started, and all that it needs meanwhile.
struct Launch : process::Spawner::Order {
    std::vector<std::string> command;
    std::vector<char*> arguments;
    process::Environment environment;
    std::string directory;
    Ends ends;
    int64_t grace = 0;           // for a program that nobody waits for any more, seconds
    Program* waiting = nullptr;  // who is told; null: nobody
    uint64_t number = 0;         // in the program table
};

class Starter {
  public:
    explicit Starter(process::ProgramTable& table) : table_(table) {}
    Starter(const Starter&) = delete;
    Starter& operator=(const Starter&) = delete;
    ~Starter() { stop(); }

    // To be called in the process that serves. If this fails, start() waits for each program.
    // Returns an empty string, or what has failed.
    std::string open(server* srv);

    // Only a few programs are started at a time, because what each needs until then (pipes, its
    // environment) would stay behind in the heap as holes if a thousand sessions begin at once.
    // True if it is this program's turn, which then starts, or leaves; else Program::turn() is
    // called when it may be. `ticket`: 0 at first, and again when it is its turn.
    bool admit(Program* program, uint64_t& ticket);
    // It does not start after all, whether it has a ticket or not.
    void leave(uint64_t ticket);

    // Starts the program; Program::launched() is called from the event loop when that is done, or
    // at once.
    void start(std::unique_ptr<Launch> launch);

    // Nobody waits for it any more. If it was started, or is, it is ended.
    void abandon(Launch* launch);

    // Nothing more is started, and nobody is told. What was started is in the program table.
    void stop();

  private:
    static handler_t ready(void* starter, int events);
    void finish(Launch& launch);
    void finished(uint64_t number);
    size_t room() const;
    void give_turns();

    process::ProgramTable& table_;
    process::Spawner spawner_;
    lighty::Watch watch_;
    std::map<uint64_t, Program*> line_;  // by ticket
    uint64_t last_ticket_ = 0;
    size_t starting_ = 0;
    sigset_t ignored_ = {};  // signals, by this process
};

}  // namespace wscgi
