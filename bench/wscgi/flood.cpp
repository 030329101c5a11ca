// SPDX-License-Identifier: BSD-3-Clause
// A program that writes without end: lines of 1 KiB, as fast as they are taken.
//
// Usage: flood            to stdout
//        flood PATH       to everyone who connects to a socket at PATH, from a process for each
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace {

int write_without_end(int fd) {
    char lines[16 * 1024];
    memset(lines, 'x', sizeof lines);
    for (size_t end = 1023; end < sizeof lines; end += 1024) lines[end] = '\n';
    size_t at = 0;  // a line must be whole, whatever a write() takes
    for (;;) {
        const ssize_t size = write(fd, lines + at, sizeof lines - at);
        if (size < 0) return 0;
        at = (at + static_cast<size_t>(size)) % sizeof lines;
    }
}

}  // namespace

int main(int count, char** arguments) {
    if (count < 2) return write_without_end(1);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    strncpy(address.sun_path, arguments[1], sizeof address.sun_path - 1);
    const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return 1;
    if (listen(listener, 4096) != 0) return 1;
    signal(SIGCHLD, SIG_IGN);  // children are not waited for
    for (int fd; (fd = accept(listener, nullptr, nullptr)) >= 0; close(fd))
        if (fork() == 0) return write_without_end(fd);
    return 1;
}
