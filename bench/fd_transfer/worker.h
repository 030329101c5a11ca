// SPDX-License-Identifier: BSD-3-Clause
// The worker that all rows of the bench share: one epoll loop, the least that HTTP/1.1 needs.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "process/fd_passing.h"
#include "process/handoff_record.h"

namespace bench {

// After a response on a connection that lighttpd handed over.
enum class Manner {
    simple,     // goes on with the connection, says nothing
    taken,      // says hello and taken, then goes on with it
    done,       // the same, but tells how each answer ended instead
    give_back,  // says hello, and returns the connection after each response
};

class Worker {
  public:
    Worker();

    // `listener` is a listening socket; connections speak HTTP, or SCGI.
    void listen_on(int listener, bool scgi);
    // `queue` is a queue of hand-offs; requests and notes come and go in batches, or one by one.
    void receive_from(int queue, Manner manner, bool batches);
    [[noreturn]] void run();

  private:
    struct Connection {
        int fd = -1;
        std::string in;          // an unfinished head
        std::string_view out;    // what is to be written
        uint64_t body_left = 0;  // of the request
        uint64_t handoff = 0;    // id, if `taken` is still to be said or it is to be returned
        uint32_t socket_index = 0;
        bool wants_taken = false;
        bool wants_done = false;
        uint32_t body_size = 0;  // of the answer
        bool handed = false;
        bool closing = false;
        bool scgi = false;
        bool events = false;  // an event stream
        bool watched = false;
    };

    void accept_all();
    void receive_all();
    void receive(const process::HandoffRecord& record, const process::HandoffReader& reader,
                 process::ReceivedFds& fds);
    void on_readable(Connection& c);
    // False if the connection has ended.
    bool take_bytes(Connection& c, std::string_view bytes);
    bool answer_http(Connection& c, std::string_view head);
    bool flush(Connection& c);
    bool finished(Connection& c, std::string_view rest);
    void say_taken(Connection& c);
    void say_done(Connection& c);
    void put_off(process::HandoffRecord record, std::span<const uint8_t> fields = {});
    void say_hello();
    void send_notes();
    bool give_back(Connection& c, std::string_view rest);
    void watch(Connection& c);
    void end(Connection& c);
    void tick();

    int epoll_;
    int listener_ = -1;
    int queue_ = -1;
    bool scgi_ = false;
    Manner manner_ = Manner::simple;
    bool batches_ = false;
    pid_t pid_;
    std::vector<uint8_t> notes_;  // records to be sent at the end of this turn
    size_t note_count_ = 0;
    std::unordered_map<int, Connection> connections_;
};

}  // namespace bench
