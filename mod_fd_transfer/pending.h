// SPDX-License-Identifier: BSD-3-Clause
// A request of ours for as long as lighttpd has its connection: it waits for room in the queue, or
// a worker has it and has not said yet what becomes of it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "lighty/lighttpd.h"
#include "mod_fd_transfer/answer.h"
#include "mod_fd_transfer/backlog.h"
#include "mod_fd_transfer/handoff_state.h"
#include "mod_fd_transfer/untaken.h"

namespace fd_transfer {

class Service;

// Lives until lighttpd resets the request.
class Pending {
  public:
    // `now` in seconds: when the request was claimed.
    Pending(request_st* r, Service& its_service, int64_t now)
        : request(r), service(&its_service), since(now) {}

    HandoffState state() const { return state_; }
    void apply(HandoffEvent event) { state_ = after(state_, event); }

    request_st* request;
    Service* service;
    int64_t since;  // seconds; its deadline counts from then: claimed, or its whole body read
    // What lighttpd no longer has: the head, and once sent what follows it. At the stage `uri`, until
    // the head is written, the target that the request was claimed for.
    std::string data = {};
    size_t head_length = 0;  // bytes of `data`
    bool settled = false;       // kept, and lighttpd has been told what that means
    bool client_spoke = false;  // while it was kept
    int status = 0;             // of HTTP, when refused
    std::optional<Answer> answer = {};  // as the worker told it
    pid_t worker = 0;           // who acknowledged it; 0: not known
    Backlog<Pending>::Place place = {};
    Untaken untaken = {};

  private:
    HandoffState state_ = HandoffState::claimed;
};

// A request's text as it travels.
inline std::span<const uint8_t> bytes(std::string_view text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

}  // namespace fd_transfer
