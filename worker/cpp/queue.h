// SPDX-License-Identifier: BSD-3-Clause
// The worker's end of one queue: receives hand-offs, tells the server about them, gives sockets
// back. Siblings may receive from the same socket.
#pragma once

#include <deque>

#include "process/fd_passing.h"
#include "process/handoff_record.h"
#include "worker/cpp/fdworker.h"

namespace fdworker {

// receive(), taken() and return_socket() are those of Intake, for one queue.
class Queue {
  public:
    // `socket`: a connected unix SOCK_SEQPACKET socket; its flags are not changed.
    explicit Queue(Socket socket);

    int fd() const { return socket_.fd(); }

    // "This process says taken." Once per process, before the first receive().
    void hello();
    Status receive(Handoff& handoff);
    void taken(Ticket& ticket);
    Status return_socket(Ticket& ticket, int client, std::string_view unread = {});
    // Sends notes that had no room before. receive() does it too.
    void flush();

  private:
    Status fill(Handoff& handoff, process::ReceivedMessage& message);
    void tell(process::HandoffKind kind, std::uint64_t id);

    Socket socket_;
    std::unique_ptr<std::uint8_t[]> buffer_;
    struct Note {
        process::HandoffKind kind;
        std::uint64_t id;
    };
    std::deque<Note> unsent_;  // bounded: the oldest is dropped
};

}  // namespace fdworker
