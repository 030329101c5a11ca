// SPDX-License-Identifier: BSD-3-Clause
// The program of one session: its process, the pipes to it, and how both end.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lighty/watch.h"
#include "mod_wscgi/error_output.h"
#include "mod_wscgi/framing.h"
#include "mod_wscgi/relay.h"
#include "process/environment.h"
#include "process/program_table.h"

namespace wscgi {

struct Endpoint;

class Program : public process::ProgramTable::Owner {
  public:
    // What happens to the program is told to lighttpd by joblist_append(con). `table` and `con`
    // must outlive the program.
    Program(connection* con, process::ProgramTable& table);
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;
    // The process, if it still runs, is left to the table, which ends it.
    ~Program();

    // Starts the endpoint's command. An empty text, or what went wrong, for the log.
    std::string start(const Endpoint& endpoint, process::Environment& environment,
                      const std::string& label);

    // ---- Its input

    // Writes the pieces, and keeps a copy of what the pipe does not take. Nothing is to be read
    // from the client while input_blocked(), so that no more is kept than was read in one go.
    void write(const Gathered& pieces);
    bool input_blocked() const { return written_ < kept_.size(); }
    // Writes more of what was kept.
    void flush();
    // End of file, once what was kept is written.
    void close_input();

    // ---- Its output

    // Reads what there is into `space`. 0: nothing now, or the end: see output_ended().
    size_t read(std::span<uint8_t> space);
    bool output_ended() const { return output_ended_; }
    // Whether lighttpd is to tell when there is more.
    void watch_output(bool wanted) { output_.want(wanted && !output_ended_ ? FDEVENT_IN : 0); }

    // ---- Its end

    // How it has ended, once it has: it exited, or did not in spite of everything.
    std::optional<ProgramEnd> ended() const;
    // It is to end: its input is closed, and signals follow after the grace.
    void end();
    // As end(), but SIGTERM at once.
    void terminate();

    void program_exited(int status) override;

  private:
    static handler_t ready(void* context, int events);
    void keep(const Gathered& pieces, size_t skip);

    connection* con_;
    process::ProgramTable& table_;
    uint32_t grace_ = 0;
    pid_t pid_ = -1;
    lighty::Watch input_;
    lighty::Watch output_;
    ErrorOutput error_;
    std::vector<uint8_t> kept_;  // bytes for the program that its pipe did not take
    size_t written_ = 0;         // of them
    bool close_input_ = false;   // when they are written
    bool output_ended_ = false;
    int64_t ending_ = 0;  // since when it is to end, seconds
    int64_t exited_ = 0;  // when it has exited
    std::optional<ProgramEnd> ended_;
};

}  // namespace wscgi
