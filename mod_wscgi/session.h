// SPDX-License-Identifier: BSD-3-Clause
// One client and who answers it: carries bytes between lighttpd's queues, the relay and the
// backend, stops either side when the other does not keep up, and ends both.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lighty/lighttpd.h"
#include "mod_wscgi/handshake.h"
#include "mod_wscgi/relay.h"
#include "mod_wscgi/service.h"
#include "mod_wscgi/starter.h"
#include "mod_wscgi/statistics.h"
#include "ws/deflate.h"

namespace wscgi {

// What all sessions of this process have in common.
struct Common {
    process::ProgramTable programs;
    Starter starter{programs};
    ws::DeflatePool deflate;
    Traffic traffic;  // of sessions that have ended
};

// What is known of a request, and of no use any more once the session is open.
struct Opening {
    Answer answer;
    process::Environment environment;
    bool described = false;  // the environment is filled
};

class Session final : ClientOutput, public SharedProgram::Listener {
  public:
    // A session that has not begun: run() begins it. `command` is the program and its arguments,
    // if one is to be started. All other arguments must outlive the session.
    Session(request_st* r, Service& service, std::vector<std::string> command, Common& common);
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
    // The backend, if it still runs, is ended.
    ~Session();

    // Does what can be done now. The result is what handle_subrequest returns; a request that is
    // refused has its status set, and the session is to be deleted.
    handler_t run();

    // To be called about once a second; run() follows through the connection's job queue.
    void tick();

    // The server stops: asks the client to leave. tick() must follow.
    void shut_down();

    // What has passed so far.
    Traffic traffic() const;

  private:
    enum class Stage : uint8_t {
        waiting,    // nothing has been done yet
        starting,   // the backend is not there yet
        answering,  // the program's header is awaited, which decides about the response
        open,       // bytes pass both ways
        ended,      // what was queued is sent, then the connection is closed
    };

    handler_t advance();

    // Before it is open
    handler_t begin();
    std::unique_ptr<Backend> make_backend();
    handler_t start();
    handler_t await_start();
    handler_t read_answer();
    handler_t judge_answer(const ProgramHeaders& headers);
    handler_t upgrade();
    handler_t refuse(int status, std::string_view counter, const std::string& reason);

    // While it is open
    static handler_t program_ready(void* session, int events);
    bool pass_on();
    handler_t relay();
    bool receive();
    bool client_is_read() const;
    size_t portion() const;
    bool receive_directly();
    bool receive_by_queue();
    bool empty_queue(chunkqueue* queue);
    std::span<uint8_t> front(chunkqueue* queue);
    void put_back(chunkqueue* queue, std::span<const uint8_t> bytes);
    size_t take_from_client(std::span<uint8_t> bytes);
    void transmit();
    size_t piece() const;
    size_t room() const;
    void take_from_program(std::span<uint8_t> fresh);
    void settle();
    void append(std::span<const uint8_t> bytes) override;
    void append_copy(std::span<const uint8_t> bytes) override;
    void send();

    // What a shared program has written
    void deliver(const Piece& piece) override;
    void wake() override { joblist_append(con_); }

    bool program_answers() const;
    void log_end() const;

    request_st* r_;
    connection* con_;
    Service& service_;
    std::vector<std::string> command_;
    Common& common_;
    std::string id_;       // not to be guessed: 128 random bits in hex
    std::string address_;  // of the client
    std::unique_ptr<Backend> backend_;
    std::unique_ptr<Relay> relay_;
    std::unique_ptr<Opening> opening_;  // until it is open
    std::vector<uint8_t> unframed_;     // bytes of the program that make no whole piece yet
    int64_t began_;                     // seconds
    off_t written_ = 0;                 // to the client, at the last tick
    uint64_t client_bytes_ = 0;
    uint64_t program_bytes_ = 0;
    bool client_ended_ = false;
    bool unfinished_ = false;  // the relay has more of the client for the program
    bool talkative_ = false;   // the program: its last piece filled the window
    bool output_ended_ = false;
    bool program_ended_ = false;
    bool in_message_ = false;  // of the shared program: some of it was delivered
    bool skipping_ = false;    // a message of it, because we are too slow
    Stage stage_ = Stage::waiting;
};

}  // namespace wscgi
