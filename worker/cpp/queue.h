// SPDX-License-Identifier: BSD-3-Clause
// The worker's end of one queue: receives hand-offs, tells the server about them, gives sockets
// back. Siblings may receive from the same socket.
#pragma once

#include <deque>
#include <mutex>
#include <string>

#include "process/fd_passing.h"
#include "process/handoff_record.h"
#include "worker/cpp/fdworker.h"

namespace fdworker {

// receive(), taken(), done() and return_socket() are those of Intake, for one queue; but after
// `truncated_fds` it is the caller who pauses, and who refuses `handoff` if it has a client. Any
// thread may tell; one receives.
class Queue {
  public:
    // `socket`: a connected unix SOCK_SEQPACKET socket; its flags are not changed.
    Queue(Socket socket, Delivery delivery, Reports reports = Reports::none);
    Queue(const Queue&) = delete;
    // Gives back what was received and not looked at.
    ~Queue();

    int fd() const { return socket_.fd(); }

    // "This process says taken." Once per process, before the first receive().
    void hello();
    Status receive(Handoff& handoff);
    // Whether receive() would say `drained`. Receives nothing.
    bool has_ended() const;
    // True if receive() has something that came with what it returned last.
    bool has_more() const { return !reader_.done(); }
    void taken(Ticket& ticket);
    void done(Ticket& ticket, Answer answer);
    Status return_socket(Ticket& ticket, int client, std::string_view unread = {},
                         Answer answer = {});
    // Returns the connection for a lingering close, which the server does. Otherwise as
    // return_socket().
    Status end_connection(Ticket& ticket, int client, Answer answer);
    // Sends what is still to be told, as far as there is room. receive() does it too.
    void flush();
    // True if something is still to be told.
    bool has_unsent() const;
    // Tells and gives back nothing more.
    void forget();

  private:
    struct Note {  // a record without fds
        process::HandoffRecord record;
        std::string data;
        Answer answer;
    };

    Status receive_message();
    Status next(Handoff& handoff);
    Ticket ticket_of(const process::HandoffRecord& record) const;
    Status fill(Handoff& handoff, const process::HandoffRecord& record);
    Status give_up(Handoff& handoff, const process::HandoffRecord& record);
    Status give_back(const process::HandoffRecord& record);
    // These with the mutex held.
    void say_taken(Ticket& ticket);
    void say_done(Ticket& ticket, Answer answer);
    Status tell(const process::HandoffRecord& record, std::string_view data = {},
                Answer answer = {});
    Status send_return(process::HandoffRecord record, Ticket& ticket, int client,
                       std::string_view unread, Answer answer);
    void send_unsent();
    void forget_unsent();
    std::size_t in_next_message() const;

    Socket socket_;
    Delivery delivery_;
    Reports reports_;
    std::unique_ptr<std::uint8_t[]> buffer_;  // of the message that was received last
    process::ReceivedFds fds_;                // that came with it and have no owner yet
    process::HandoffReader reader_;           // where in it we are
    mutable std::mutex mutex_;                // of what is still to be told:
    std::deque<Note> unsent_;                 // bounded, as are
    std::size_t unsent_data_ = 0;             // bytes of their data
};

}  // namespace fdworker
