// SPDX-License-Identifier: BSD-3-Clause
// The text of a request's head, line by line: whatever it is given, it stays one head.
#pragma once

#include <string>
#include <string_view>

namespace fd_transfer {

class RequestText {
  public:
    // Replaces what `out` holds. `version`: "HTTP/1.1".
    RequestText(std::string& out, std::string_view method, std::string_view target,
                std::string_view version);

    // The field Host, which HTTP/1.1 requires even if it is blank.
    void host(std::string_view value);

    // Any other field. Blank means absent: that is how lighttpd's modules remove a field. A value
    // that holds a line break or NUL is left out too: it would end the head.
    void field(std::string_view name, std::string_view value);

    // The empty line.
    void end();

  private:
    std::string& out_;
};

}  // namespace fd_transfer
