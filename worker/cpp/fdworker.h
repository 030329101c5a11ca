// SPDX-License-Identifier: BSD-3-Clause
// libfdworker: what a worker of lighttpd's mod_fd_transfer needs. It receives clients' sockets
// with the bytes read from them, tells the server, gives sockets back. It has no event loop (it
// gives one fd to poll, and never blocks but for a moment at the end, see ~Intake()), no HTTP
// parser and no threads; it throws nothing. An Intake is used by one thread at a time. The record
// on the wire: doc/handoff-record.md.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
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
    bad_fields,
    missing_fd,
    too_many_fds,
    truncated_data,   // longer than the largest record
    truncated_fds,    // no free descriptor for a client's socket (RLIMIT_NOFILE), see Intake
    short_memfd,      // the memfd holds less than the record says
    not_for_workers,  // a kind that only workers send
    not_a_socket,     // the fd is no stream socket
    not_returnable,   // return_socket(): an ordinary connection, or its server has gone
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
    Socket();
    explicit Socket(int fd);
    Socket(Socket&& other) noexcept;
    Socket& operator=(Socket&& other) noexcept;
    ~Socket();  // closes it

    int fd() const { return fd_; }  // -1: none
    int release();                  // ownership goes to the caller
    // Closes the descriptor and does nothing else: the server may hold the socket too.
    void close();
    // Ends the connection after an answer, even while the server holds the socket too: shutdown,
    // then close. If the client may still be sending a body that is not read (`unread` of the
    // Ticket that came with this socket), it is a lingering close, as of Intake::end_connection(),
    // so that the answer arrives: call taken() or done() before. Any thread may do so.
    void end_connection();

  private:
    friend class Intake;
    struct LingeringClose;
    Socket(int fd, std::unique_ptr<LingeringClose> close);

    int fd_ = -1;
    std::unique_ptr<LingeringClose> lingering_close_;  // none: the plain one
};

// Whether the client may be sending something that is not read when its connection ends.
enum class Unread : std::uint8_t {
    none,
    unknown,  // an ordinary connection, whose head has not been seen: looks at the socket
    likely,   // the head announces a body that has not come as a whole, or more came behind it
};

// What the server must be told about a hand-off; outlives the socket.
struct Ticket {
    std::uint64_t id = 0;
    std::uint32_t socket_index = 0;
    std::uint32_t queue = 0;  // where it came from; 0: an ordinary connection, told to nobody
    bool wants_taken = false;
    bool wants_done = false;
    // For the end of the connection. A worker that has read everything may set `none`, which saves
    // work; one that answers further requests there sets what holds for the last of them.
    Unread unread = Unread::none;
};

// What the server's access log should say of an answer.
struct Answer {
    int status = 0;           // of HTTP; 0: not known
    std::uint64_t bytes = 0;  // of the response after its head, as they were written
};

// What the server knows of the client. From the connection itself, not from fields of the request
// that the client could have written.
struct Peer {
    std::string address;           // such as "192.0.2.7"; empty: not known, as of a unix socket
    std::uint16_t port = 0;        // 0: not known
    std::string scheme;            // "http" or "https"; empty: not told
    std::string user;              // whom the server has authenticated; empty: nobody
    std::uint64_t body_limit = 0;  // bytes of body that the server would accept; 0: any number
};

// A client's socket (O_NONBLOCK) and the first bytes of its stream. An ordinary connection, from a
// listening socket, comes in the same form, with no bytes read.
struct Handoff {
    Socket client;
    std::string data;             // the request's head, then what was read after it
    std::size_t head_length = 0;  // bytes of request line and header fields with the empty line
    bool raw_stage = false;       // lighttpd's access control has not run
    Peer peer;
    Ticket ticket;

    std::string_view head() const { return std::string_view(data).substr(0, head_length); }
    std::string_view rest() const { return std::string_view(data).substr(head_length); }
};

// How requests come from lighttpd, and word goes back to it.
enum class Delivery : std::uint8_t {
    // One by one, at once: what this worker has not received yet, its siblings can take.
    single,
    // Those that came together, together, and word at flush(): much less work for both sides, where
    // workers never wait for anything but events. A worker then has several requests at once.
    batches,
};

// Whether a worker tells how each of its answers ended, for the server's access log.
enum class Reports : std::uint8_t {
    none,  // the log shows `log-status` and no bytes
    done,  // every hand-off ends in done() or return_socket()
};

// Everything a worker gets connections from, behind one fd to poll:
//   - the queue on fd 0, of a worker that lighttpd started;
//   - sockets inherited by systemd's LISTEN_FDS convention, and paths to listen at: on a
//     SOCK_SEQPACKET one lighttpd connects and sends hand-offs, a SOCK_STREAM one brings the
//     ordinary HTTP/1.1 connections of mod_proxy (requests over TLS and HTTP/2);
//   - SIGTERM, which is blocked in this thread and means the same as the end of the queue on fd 0:
//     drain.
// It says hello on each queue, so every hand-off must end in taken(), done(), end_connection() or
// return_socket().
//
// A request that was received but of which no byte has been answered is not the worker's for ever:
// lighttpd answers it 503 at `deadline` if the process is stopped, and after `taken-timeout` (60
// seconds unless configured) in any case. A worker that needs longer for the first byte calls
// taken() before; from then on lighttpd repeats nothing and answers nothing.
//
// A connection whose client is still sending what nobody reads must not simply be closed, or the
// client may see a reset instead of the answer. end_connection() gives it back to the server for
// its end. Where no server takes it (an ordinary connection, a full queue, a server that has gone),
// the Intake drops what comes until the client ends its side, within limit_lingering(); fd() is
// readable for it, and receive() does it.
//
// Where no descriptor is free for a client's socket, the request goes back to the server, for a
// sibling or for later. receive() says so once (`truncated_fds`), and takes nothing more from that
// queue until one is free, about a second at least. What cannot go back, its data being in a memfd,
// is refused with 503, or ends.
class Intake {
  public:
    // Finds fd 0, LISTEN_FDS and SIGTERM. To be made before threads start. All workers of a service
    // should ask for the same.
    explicit Intake(Delivery delivery = Delivery::single, Reports reports = Reports::none);
    Intake(Intake&&) noexcept;
    Intake& operator=(Intake&&) noexcept;
    // Sends what is still to be told, and gives back what has_more() would have brought. Where a
    // server's queue is full, it waits for room, at most a second in all; and for connections that
    // linger, as long as limit_lingering() says.
    ~Intake();

    // Takes a socket from elsewhere, of any of the kinds above. `system_error`: none of them (it
    // is closed; errno is ENOTSOCK or EINVAL).
    Status add(Socket socket);
    // Listens at `path` for lighttpd's hand-offs, or for ordinary connections. A socket file on
    // which nobody listens is replaced. `system_error`: see errno. Where receive() finds no
    // descriptor for a connection (`system_error`, EMFILE), an ordinary one is closed; lighttpd's
    // waits, and receive() tries again after a second.
    Status listen_for_handoffs(const char* path);
    Status listen_for_connections(const char* path);
    // True if there is nothing that could ever bring a connection.
    bool empty() const;

    // Readable when receive() has something to say, or to do.
    int fd() const;
    // The next connection into `handoff`, whose former contents are closed. After `ok` there may
    // be more; `empty` is normal when siblings are faster. Once it has said `drained`, listening
    // sockets are closed and fd() is silent, but for word that had no room and now has some, and
    // for connections that linger.
    Status receive(Handoff& handoff);
    // True if receive() has more of what came together, which fd() does not show.
    bool has_more() const;
    // Sends what taken() and return_socket() have to tell. With Delivery::batches to be called
    // before waiting for events; otherwise they do it themselves.
    void flush();
    // To be called right after the first bytes of the response were written: the server forgets
    // its descriptor. Does nothing if the server does not wait for it, or was told.
    void taken(Ticket& ticket);
    // To be called when the answer has ended, or will never be complete, if this Intake was made
    // with Reports::done; a return says it too. A short answer needs no taken() before it. Does
    // nothing if it was said before.
    void done(Ticket& ticket, Answer answer = {});
    // Gives a connection back to the server, which goes on reading requests there. `unread`: bytes
    // read from the client that belong to later requests. On `ok` the caller closes its fd and
    // does not touch the connection again; otherwise nothing has happened.
    Status return_socket(Ticket& ticket, int client, std::string_view unread = {},
                         Answer answer = {});
    // Ends a connection after its last response, and says done(). If `ticket.unread` says that the
    // client may still be sending, it is a lingering close, and the answer arrives. The caller
    // closes its fd, if it has one (`client`), and does not touch the connection again.
    void end_connection(Ticket& ticket, int client, Answer answer = {});
    void end_connection(Handoff handoff, Answer answer = {});
    // How many connections linger here at once (256 unless told otherwise; beyond that the oldest
    // is closed), and how long each (5 seconds).
    void limit_lingering(std::size_t connections, std::chrono::milliseconds time);
    // Answers `status` (such as 503) with `reason` as a short text (HEAD: without) and ends the
    // connection. Meant for the start of a response: writes what the socket takes at once.
    void refuse(Handoff handoff, int status, std::string_view reason);

  private:
    class Sources;
    std::unique_ptr<Sources> sources_;
};

}  // namespace fdworker
