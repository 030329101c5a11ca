// SPDX-License-Identifier: BSD-3-Clause
// The peers of the bench, one program:
//
//   fdt_bench queue simple|taken|done|return    a worker of mod_fd_transfer; fd 0 is the queue. All
//   but the first take batches; taken-single, done-single and return-single do not
//   fdt_bench direct PORT                  the same worker, accepting by itself
//   fdt_bench http|scgi PATH [COUNT]       the same worker behind mod_proxy or mod_scgi; COUNT: of
//   processes, one unless said otherwise
//   fdt_bench front PORT                   the same worker behind a bare SCM_RIGHTS front: the
//   floor
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <string_view>

#include "bench/fd_transfer/worker.h"
#include "process/fd_passing.h"
#include "process/handoff_record.h"

namespace {

int checked(int result, const char* what) {
    if (result < 0) {
        perror(what);
        exit(1);
    }
    return result;
}

int listen_tcp(int port) {
    const int fd = checked(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));  // inherited
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(uint16_t(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    checked(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), "bind");
    checked(listen(fd, 1024), "listen");
    return fd;
}

int listen_unix(const char* path) {
    const int fd = checked(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
    sockaddr_un address = {AF_UNIX, {}};
    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    unlink(path);
    checked(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), "bind");
    checked(listen(fd, 1024), "listen");
    return fd;
}

// From here on there are `count` of us. The others end with the first.
void multiply(int count) {
    while (--count > 0)
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            return;
        }
}

// Accepts, reads what comes first, passes it on with the socket, closes: what any front must do.
[[noreturn]] void front(int listener, int queue) {
    const int epoll = epoll_create1(0);
    epoll_event event = {EPOLLIN, {.fd = listener}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    static uint8_t data[65536];
    for (;;) {
        epoll_event events[128];
        const int count = epoll_wait(epoll, events, 128, -1);
        for (int i = 0; i < count; ++i) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                while ((fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK)) >= 0) {
                    event = {EPOLLIN, {.fd = fd}};
                    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
                }
                continue;
            }
            const ssize_t size = read(fd, data, sizeof(data));
            if (size > 0) {
                uint8_t header[process::handoff_header_size];
                process::encode_handoff({.kind = process::HandoffKind::request,
                                         .id = 1,
                                         .head_length = uint32_t(size),
                                         .data_length = uint32_t(size)},
                                        header);
                const int fds[] = {fd};
                while (process::send_message(queue, header, {data, size_t(size)}, fds) ==
                       process::PassingError::would_block)
                    usleep(100);
            }
            epoll_ctl(epoll, EPOLL_CTL_DEL, fd, nullptr);
            close(fd);
        }
    }
}

void run_front(int port) {
    int pair[2];
    checked(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), "socketpair");
    const int listener = listen_tcp(port);
    if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(pair[0]);
        close(listener);
        bench::Worker worker;
        worker.receive_from(pair[1], bench::Manner::simple, false);
        worker.run();
    }
    close(pair[1]);
    front(listener, pair[0]);
}

}  // namespace

int main(int argc, char** argv) {
    signal(SIGPIPE, SIG_IGN);
    const rlimit files = {65536, 65536};
    setrlimit(RLIMIT_NOFILE, &files);
    if (argc < 3) return 2;
    const std::string_view role = argv[1], argument = argv[2];
    if (role == "front") run_front(atoi(argv[2]));
    int listener = -1;
    if (role == "direct") listener = listen_tcp(atoi(argv[2]));
    if (role == "http" || role == "scgi") listener = listen_unix(argv[2]);
    if (argc > 3) multiply(atoi(argv[3]));
    bench::Worker worker;
    if (role == "queue")
        worker.receive_from(0,
                            argument.starts_with("taken")    ? bench::Manner::taken
                            : argument.starts_with("done")   ? bench::Manner::done
                            : argument.starts_with("return") ? bench::Manner::give_back
                                                             : bench::Manner::simple,
                            !argument.ends_with("-single"));
    else
        worker.listen_on(listener, role == "scgi");
    worker.run();
}
