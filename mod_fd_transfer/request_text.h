// SPDX-License-Identifier: BSD-3-Clause
// The head of a request, written out again from its parsed parts: what a worker gets at the stage
// `uri`, where lighttpd no longer has the client's own bytes.
#pragma once

#include <string>
#include <string_view>

namespace fd_transfer {

class RequestText {
  public:
    // `version`: "HTTP/1.1".
    RequestText(std::string& out, std::string_view method, std::string_view target,
                std::string_view version);

    // A field whose value holds a line break is left out: it would end the head.
    void field(std::string_view name, std::string_view value);

    // The empty line. `chunked`: the body comes in chunks, a field that lighttpd has taken away.
    void end(bool chunked);

  private:
    std::string& out_;
};

}  // namespace fd_transfer
