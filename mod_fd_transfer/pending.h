// SPDX-License-Identifier: BSD-3-Clause
// A request of ours for as long as lighttpd has its connection: it waits for room in the queue, or
// a worker has it and has not said yet what becomes of it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "lighty/lighttpd.h"
#include "mod_fd_transfer/backlog.h"
#include "mod_fd_transfer/untaken.h"

namespace fd_transfer {

class Service;

// Lives until lighttpd resets the request.
struct Pending {
    enum class State {
        claimed,   // nothing tried yet
        put_off,   // to the end of this turn of the event loop
        waiting,   // in the backlog
        held,      // sent, and the connection is kept until the worker has begun to answer
        lost,      // its worker has died: to be sent again
        sent,      // a worker has it for good: leave without a word
        left,      // done
        returned,  // the worker has answered, lighttpd goes on with the connection
        broken,    // nobody can answer it any more: close
        refused,   // answer with `status`
    };

    request_st* request;
    Service* service;
    std::string data = {};   // what lighttpd no longer has: the head, and once sent what follows it
    size_t head_length = 0;  // bytes of `data`
    State state = State::claimed;
    bool settled = false;       // held, and lighttpd has been told what that means
    bool client_spoke = false;  // while it was held
    int status = 0;             // of HTTP
    Backlog<Pending>::Place place = {};
    Untaken untaken = {};
};

// A request's text as it travels.
inline std::span<const uint8_t> bytes(std::string_view text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

}  // namespace fd_transfer
