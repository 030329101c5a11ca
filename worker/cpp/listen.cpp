// SPDX-License-Identifier: BSD-3-Clause
// A listening unix socket at a path.
#include "worker/cpp/listen.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

namespace fdworker {
namespace {

constexpr int backlog = 1024;

Socket new_socket(int type) { return Socket(socket(AF_UNIX, type | SOCK_CLOEXEC, 0)); }

// A socket file on which nobody listens is what a killed worker left.
void remove_if_stale(const sockaddr_un& address, int type) {
    struct stat info;
    if (stat(address.sun_path, &info) != 0 || !S_ISSOCK(info.st_mode)) return;
    const Socket probe = new_socket(type);
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    if (connect(probe.fd(), generic, sizeof address) != 0 && errno == ECONNREFUSED)
        unlink(address.sun_path);
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
    remove_if_stale(address, type);
    Socket listener = new_socket(type);
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    if (listener.fd() < 0 || bind(listener.fd(), generic, sizeof address) != 0 ||
        listen(listener.fd(), backlog) != 0) {
        const int error = errno;
        listener.close();
        errno = error;
    }
    return listener;
}

}  // namespace fdworker
