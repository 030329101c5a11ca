// SPDX-License-Identifier: BSD-3-Clause
// A listening unix socket at a path.
#include "worker/cpp/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

namespace fdworker {
namespace {

constexpr int backlog = 1024;
constexpr int lock_attempts = 200;               // see lock_directory_of()
constexpr useconds_t lock_attempt_time = 10000;  // microseconds
constexpr unsigned unconnected = 1;  // SS_UNCONNECTED: listens, or will; accepted sockets have 3

Socket new_socket(int type, int flags = 0) {
    return Socket(socket(AF_UNIX, type | SOCK_CLOEXEC | flags, 0));
}

bool is_same_file(const char* path, const struct stat& file) {
    struct stat info;
    return stat(path, &info) == 0 && info.st_dev == file.st_dev && info.st_ino == file.st_ino;
}

// Whether a line of /proc/net/unix is of a socket that is bound to the file. Its columns: number,
// references, protocol, flags, type, state (all hexadecimal), inode, path.
bool is_bound_to(const char* line, const struct stat& file) {
    unsigned state = 0;
    int path = 0;
    const bool has_path =
        sscanf(line, "%*[^:]: %*x %*x %*x %*x %x %*u %n", &state, &path) == 1 && path > 0;
    return has_path && state == unconnected && is_same_file(line + path, file);
}

// A socket that does not listen yet refuses connections as a stale file does.
bool has_bound_socket(const struct stat& file) {
    const std::unique_ptr<FILE, int (*)(FILE*)> sockets(fopen("/proc/net/unix", "re"), fclose);
    char* line = nullptr;
    std::size_t size = 0;
    bool found = !sockets;  // then nobody knows
    for (ssize_t length;
         sockets && !found && (length = getline(&line, &size, sockets.get())) > 0;) {
        if (line[length - 1] == '\n') line[length - 1] = '\0';
        found = is_bound_to(line, file);
    }
    free(line);
    return found;
}

// Does not wait for a listener whose backlog is full: that is none of ours (EAGAIN).
void remove_if_stale(const sockaddr_un& address, int type) {
    struct stat info;
    if (stat(address.sun_path, &info) != 0 || !S_ISSOCK(info.st_mode)) return;
    const Socket probe = new_socket(type, SOCK_NONBLOCK);
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    if (connect(probe.fd(), generic, sizeof address) == 0 || errno != ECONNREFUSED) return;
    if (!has_bound_socket(info)) unlink(address.sun_path);
}

// Between the look at a file and its removal another process may have put its own there: all who
// replace files lock their directory. Locked if there is a descriptor, or if nobody may read it.
bool lock_directory_of(const char* path, Socket& directory) {
    const std::string_view whole = path;
    const std::size_t slash = whole.rfind('/');
    const std::string name(slash == whole.npos ? "." : whole.substr(0, slash + 1));
    directory = Socket(open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (directory.fd() < 0) return errno == EACCES;
    for (int i = 0; i < lock_attempts; ++i) {
        if (flock(directory.fd(), LOCK_EX | LOCK_NB) == 0) return true;
        if (errno != EWOULDBLOCK) return true;  // a file system without locks
        usleep(lock_attempt_time);
    }
    errno = EWOULDBLOCK;
    return false;
}

}  // namespace

Socket listen_at(const char* path, int type) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (std::strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return {};
    }
    std::strcpy(address.sun_path, path);
    Socket directory;
    if (!lock_directory_of(path, directory)) return {};
    remove_if_stale(address, type);
    Socket listener = new_socket(type);
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    if (listener.fd() < 0 || bind(listener.fd(), generic, sizeof address) != 0 ||
        listen(listener.fd(), backlog) != 0) {
        const int error = errno;
        listener.close();
        directory.close();
        errno = error;
    }
    return listener;
}

}  // namespace fdworker
