// SPDX-License-Identifier: BSD-3-Clause
// libfdworker: what a worker of lighttpd's mod_fd_transfer needs. It receives clients' sockets
// with the bytes read from them, tells the server, gives sockets back. It has no event loop (it
// gives fds to poll, and never blocks), no HTTP parser and no threads; it throws nothing. One
// Queue is used by one thread at a time. The record on the wire: doc/handoff-record.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>

namespace fdworker {

enum class Status : std::uint8_t {
    ok,
    empty,    // nothing to receive now, or no room to send: poll and come again
    drained,  // the server sends no more: finish what is in work, then exit with 0
    // A message was refused. Its fds are closed; log it and go on.
    short_header,
    bad_magic,
    bad_version,
    bad_kind,
    bad_flags,
    bad_lengths,
    missing_fd,
    too_many_fds,
    truncated_data,   // longer than the largest record
    truncated_fds,    // the kernel dropped fds (RLIMIT_NOFILE reached?)
    short_memfd,      // the memfd holds less than the record says
    not_for_workers,  // a kind that only workers send
    not_a_socket,     // the fd is no stream socket
    // Something else went wrong: see errno.
    system_error,
};

// A phrase for a log line.
const char* text(Status status);
// True for the statuses that refuse one message and leave the queue usable.
constexpr bool is_refusal(Status status) {
    return status >= Status::short_header && status <= Status::not_a_socket;
}

// An owned file descriptor.
class Socket {
  public:
    Socket() = default;
    explicit Socket(int fd) : fd_(fd) {}
    Socket(Socket&& other) noexcept : fd_(other.release()) {}
    Socket& operator=(Socket&& other) noexcept;
    ~Socket() { close(); }

    int fd() const { return fd_; }  // -1: none
    int release();                  // ownership goes to the caller
    void close();
    // Ends the connection even while the server holds a duplicate: shutdown, then close.
    void end_connection();

  private:
    int fd_ = -1;
};

// What the server must be told about a hand-off; outlives the socket.
struct Ticket {
    std::uint64_t id = 0;
    std::uint32_t socket_index = 0;
    bool wants_taken = false;
};

// A client's socket (O_NONBLOCK) and the first bytes of its stream.
struct Handoff {
    Socket client;
    std::string data;             // the request's head, then what was read after it
    std::size_t head_length = 0;  // bytes of request line and header fields with the empty line
    bool raw_stage = false;       // lighttpd's access control has not run
    Ticket ticket;

    std::string_view head() const { return std::string_view(data).substr(0, head_length); }
    std::string_view rest() const { return std::string_view(data).substr(head_length); }
};

// The worker's end of the queue. Siblings may receive from the same socket.
class Queue {
  public:
    // Takes ownership of `fd`, a connected unix SOCK_SEQPACKET socket; its flags are not changed.
    explicit Queue(int fd = 0);
    Queue(Queue&&) = default;
    Queue& operator=(Queue&&) = default;

    // Readable when receive() has something to say.
    int fd() const { return socket_.fd(); }

    // "This process says taken." Once per process, before the first receive().
    void hello();
    // The next hand-off into `handoff`, whose former contents are closed. After `ok` there may be
    // more; `empty` is normal when siblings are faster.
    Status receive(Handoff& handoff);
    // To be called right after the first bytes of the response were written: the server forgets
    // its duplicate. Does nothing if the server does not wait for it, or was told.
    void taken(Ticket& ticket);
    // Gives a connection back to the server, which goes on reading requests there. `unread`: bytes
    // read from the client that belong to later requests. On `ok` the caller closes its fd and
    // does not touch the connection again; otherwise nothing has happened.
    Status return_socket(Ticket& ticket, int client, std::string_view unread = {});
    // Sends notes that had no room before. receive() does it too.
    void flush();

  private:
    Status fill(Handoff& handoff, std::size_t message_size, class Message& message);
    void tell(std::uint8_t kind, std::uint64_t id);

    Socket socket_;
    std::unique_ptr<std::uint8_t[]> buffer_;
    struct Note {
        std::uint8_t kind;
        std::uint64_t id;
    };
    std::deque<Note> unsent_;  // bounded: the oldest is dropped
};

// For external workers: a listening unix SOCK_SEQPACKET socket to which the server connects. Each
// accepted connection is a queue; its `drained` ends that queue only.
class Listener {
  public:
    // Takes ownership of a listening socket, such as one inherited by LISTEN_FDS.
    explicit Listener(int fd = -1) : socket_(fd) {}
    // Listens at `path`; replaces a socket file on which nobody listens. `system_error`: errno.
    Status open(const char* path);
    int fd() const { return socket_.fd(); }
    // The accepted socket, for Queue; -1 if a sibling was faster.
    int accept();

  private:
    Socket socket_;
};

// The first listening stream socket among the fds that LISTEN_FDS announces, non-blocking and
// close-on-exec: mod_proxy's connections (TLS, HTTP/2) arrive there. -1 if there is none.
int inherited_stream_listener();

// Blocks SIGTERM in this thread and gives an fd that is readable when it was sent: then receive no
// more, finish what is in work, exit with 0. To be called before threads start. -1: see errno.
int drain_signal();

// Answers `status` (such as 503) with `reason` as a short text and ends the connection. Meant for
// the start of a response: writes what the socket takes at once.
void refuse(Queue& queue, Handoff handoff, int status, std::string_view reason);

}  // namespace fdworker
