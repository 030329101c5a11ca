// SPDX-License-Identifier: BSD-3-Clause
// Around the queue: listening sockets, the drain signal, and the refusal of a request.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "worker/cpp/fdworker.h"

namespace fdworker {
namespace {

constexpr int listen_fds_start = 3;  // SD_LISTEN_FDS_START
constexpr int listen_backlog = 1024;
constexpr int discard_max = 64 * 1024;  // bytes of a refused request's body that are read

int option(int fd, int name) {
    int value = 0;
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

// A socket file on which nobody listens is what a killed worker left.
void remove_if_stale(const sockaddr_un& address) {
    struct stat info;
    if (stat(address.sun_path, &info) != 0 || !S_ISSOCK(info.st_mode)) return;
    const Socket probe(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    if (connect(probe.fd(), generic, sizeof address) != 0 && errno == ECONNREFUSED)
        unlink(address.sun_path);
}

}  // namespace

Status Listener::open(const char* path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (std::strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return Status::system_error;
    }
    std::strcpy(address.sun_path, path);
    remove_if_stale(address);
    socket_ = Socket(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    if (socket_.fd() < 0 || bind(socket_.fd(), generic, sizeof address) != 0 ||
        listen(socket_.fd(), listen_backlog) != 0)
        return Status::system_error;
    return Status::ok;
}

int Listener::accept() { return accept4(socket_.fd(), nullptr, nullptr, SOCK_CLOEXEC); }

int inherited_stream_listener() {
    const char* count = getenv("LISTEN_FDS");
    const char* pid = getenv("LISTEN_PID");
    if (count == nullptr || (pid != nullptr && atol(pid) != getpid())) return -1;
    for (int fd = listen_fds_start; fd < listen_fds_start + atoi(count); ++fd) {
        if (option(fd, SO_TYPE) != SOCK_STREAM || option(fd, SO_ACCEPTCONN) != 1) continue;
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        return fd;
    }
    return -1;
}

int drain_signal() {
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    if (sigprocmask(SIG_BLOCK, &term, nullptr) != 0) return -1;
    return signalfd(-1, &term, SFD_CLOEXEC | SFD_NONBLOCK);
}

void refuse(Queue& queue, Handoff handoff, int status, std::string_view reason) {
    const std::string number = std::to_string(status);
    std::string response = "HTTP/1.1 " + number + " ";
    response += reason;
    response += "\r\nContent-Type: text/plain\r\nConnection: close\r\n";
    if (status == 503) response += "Retry-After: 1\r\n";
    response += "Content-Length: " + std::to_string(number.size() + reason.size() + 2);
    response += "\r\n\r\n" + number + " ";
    response += reason;
    response += "\n";
    const int client = handoff.client.fd();
    (void)!send(client, response.data(), response.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    queue.taken(handoff.ticket);
    shutdown(client, SHUT_WR);
    // Closing with unread bytes would send a reset, which may overtake the response.
    char discard[4096];
    for (int read = 0; read < discard_max; read += int(sizeof discard))
        if (recv(client, discard, sizeof discard, MSG_DONTWAIT) <= 0) break;
}

}  // namespace fdworker
