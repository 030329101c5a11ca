// SPDX-License-Identifier: BSD-3-Clause
// One client and its program: carries bytes between lighttpd's queues, the relay and the program,
// stops either side when the other does not keep up, and ends both.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lighty/lighttpd.h"
#include "mod_wscgi/endpoint.h"
#include "mod_wscgi/handshake.h"
#include "mod_wscgi/program.h"
#include "mod_wscgi/relay.h"

namespace wscgi {

class Session final : ClientOutput {
  public:
    // A session that has not begun: run() begins it. All arguments must outlive it.
    Session(request_st* r, Endpoint& endpoint, process::ProgramTable& programs);
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
    // The program, if it still runs, is ended.
    ~Session();

    // Does what can be done now. The result is what handle_subrequest returns; a request that is
    // refused has its status set, and the session is to be deleted.
    handler_t run();

    // To be called about once a second; run() follows through the connection's job queue.
    void tick();

    // The server stops: asks the client to leave. tick() must follow.
    void shut_down();

  private:
    enum class Stage : uint8_t {
        waiting,    // nothing has been done yet
        answering,  // the program's header is awaited, which decides about the response
        open,       // bytes pass both ways
        ended,      // what was queued is sent, then the connection is closed
    };

    handler_t begin();
    handler_t read_answer();
    handler_t refuse(int status, const std::string& reason);
    bool start_program(std::string& error);
    void upgrade(int status);
    void append(std::span<const uint8_t> bytes) override;

    handler_t relay();
    bool receive();
    std::span<uint8_t> front(chunkqueue* queue);
    bool take_from_client(chunkqueue* queue);
    void transmit();
    void take_from_program(std::span<uint8_t> fresh);
    void settle();
    void log_end() const;

    request_st* r_;
    connection* con_;
    Endpoint& endpoint_;
    std::string id_;  // not to be guessed: 128 random bits in hex
    Program program_;
    std::unique_ptr<Relay> relay_;
    std::vector<uint8_t> unframed_;  // bytes of the program that make no whole piece yet
    int64_t began_;                  // seconds
    int64_t client_bytes_ = 0;
    int64_t program_bytes_ = 0;
    bool client_ended_ = false;
    bool program_ended_ = false;
    Stage stage_ = Stage::waiting;
};

}  // namespace wscgi
