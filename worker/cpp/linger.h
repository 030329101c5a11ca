// SPDX-License-Identifier: BSD-3-Clause
// Lingering close: the end of a connection whose client may still be sending. If it were closed
// with unread bytes, the client would get a reset, which may overtake the response.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "worker/cpp/fdworker.h"

namespace fdworker {

class Queue;

// Connections that no server takes for their end. Each is read, and what comes is dropped, until
// the client ends its side or the time is up. Any thread may add to them.
class Linger {
  public:
    Linger();

    void set_limits(std::size_t connections, std::chrono::milliseconds time);
    // Readable when run() has something to do.
    int fd() const { return epoll_.fd(); }
    // `client` is shut down for sending. If there are too many, the oldest is closed. Where nobody
    // would watch it (no descriptor, a fork), what has come is dropped, and it is closed at once.
    void add(Socket client);
    void run();
    bool empty() const;

  private:
    using Clock = std::chrono::steady_clock;
    struct Client {
        Socket socket;
        Clock::time_point end;
    };
    using ClientMap = std::map<std::uint64_t, Client>;  // by number: the oldest comes first

    bool watch(const Socket& socket, std::uint64_t number);
    void remove(ClientMap::iterator client);
    void set_timer();

    mutable std::mutex mutex_;
    Socket epoll_, timer_;
    ClientMap clients_;
    std::uint64_t last_ = 0;  // the number given last; 0 is the timer's
    std::size_t clients_max_ = 256;
    std::chrono::milliseconds time_{5000};
    pid_t owner_;
};

// What a Socket needs for its end, whatever has become of the Intake meanwhile.
struct Socket::LingeringClose {
    std::weak_ptr<Queue> queue;  // none: an ordinary connection
    std::weak_ptr<Linger> linger;
    Ticket ticket;
};

// Whether a lingering close is called for. Looks at the socket only if nothing else tells.
bool is_to_linger(Unread unread, int client);

// Drops what has come and is not read, up to a bound.
void drop_unread(int client);

}  // namespace fdworker
