// SPDX-License-Identifier: BSD-3-Clause
// A program's stderr, line by line into the server's error log, at a bounded rate.
#pragma once

#include <cstdint>
#include <string>

#include "lighty/watch.h"

namespace wscgi {

class ErrorOutput {
  public:
    // Takes over `fd`, the reading end of the pipe. `label` goes in front of every line.
    void open(server* srv, int fd, std::string label);

    // Reads and logs what is there. Called from the event loop, and once more at the end.
    void read();
    void close();

  private:
    static handler_t ready(void* context, int events);
    void log(std::string_view line);
    void log_complete_lines(bool end);

    server* srv_ = nullptr;
    lighty::Watch watch_;
    std::string label_;
    std::string text_;         // a line that is not complete yet
    int64_t second_ = 0;       // the second that is counted
    uint32_t lines_ = 0;       // logged in it
    uint32_t suppressed_ = 0;  // not logged since
};

}  // namespace wscgi
