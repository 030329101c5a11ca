// SPDX-License-Identifier: BSD-3-Clause
// Listening at a path: what a killed process left is replaced, what is somebody's is not, and of
// many who start at once one gets it.
#include "worker/cpp/listen.h"

#include <errno.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>
#include <vector>

#include "t/unit/record/intake_bench.h"

namespace {

using fdworker::listen_at;
using Clock = std::chrono::steady_clock;

const std::string path = path_of(".listen");

Socket bound_socket(const std::string& where, int type) {
    const sockaddr_un address = address_of(where);
    Socket bound(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    ck_assert_int_eq(bind(bound.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
                     0);
    return bound;
}

void leave_stale_file(int type) {
    unlink(path.c_str());
    bound_socket(path, type).close();
}

bool is_refused(const char* where, int type) {
    errno = 0;
    return listen_at(where, type).fd() < 0 && errno == EADDRINUSE;
}

START_TEST(what_nobody_has_is_replaced) {
    for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
        for (const int left : {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM}) {
            leave_stale_file(left);
            const Socket listener = listen_at(path.c_str(), type);
            ck_assert_int_ge(listener.fd(), 0);
            connect_to(path, type);
        }
    }
    unlink(path.c_str());
}
END_TEST

START_TEST(what_is_bound_but_does_not_listen_yet_is_somebodys) {
    for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
        unlink(path.c_str());
        const Socket starting = bound_socket(path, type);
        ck_assert(is_refused(path.c_str(), type));
        ck_assert_int_eq(listen(starting.fd(), 1), 0);
        connect_to(path, type);  // it has its path still
    }
    unlink(path.c_str());
}
END_TEST

START_TEST(whatever_name_its_file_is_called_by) {
    char folder[] = "/tmp/fdworker-test-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
    const std::string link = std::string(folder) + "-link";
    ck_assert_int_eq(symlink(folder, link.c_str()), 0);
    const std::string names[] = {"a b", std::string(folder) + "/a b", link + "/a b", "./a b"};
    for (const std::string& bound : names) {
        const Socket starting = bound_socket(bound, SOCK_STREAM);
        for (const std::string& name : names) ck_assert(is_refused(name.c_str(), SOCK_STREAM));
        unlink("a b");
    }
    unlink(link.c_str());
    rmdir(folder);
}
END_TEST

START_TEST(a_full_backlog_is_not_waited_for) {
    unlink(path.c_str());
    const Socket listener = bound_socket(path, SOCK_STREAM);
    ck_assert_int_eq(listen(listener.fd(), 0), 0);
    std::vector<Socket> clients;
    const sockaddr_un address = address_of(path);
    do {
        clients.emplace_back(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    } while (connect(clients.back().fd(), reinterpret_cast<const sockaddr*>(&address),
                     sizeof address) == 0);
    ck_assert_int_eq(errno, EAGAIN);
    const auto begin = Clock::now();
    ck_assert(is_refused(path.c_str(), SOCK_STREAM));
    ck_assert(Clock::now() - begin < std::chrono::seconds(1));
    unlink(path.c_str());
}
END_TEST

START_TEST(a_process_that_drains_leaves_its_path_to_the_next) {
    unlink(path.c_str());
    Socket listener = listen_at(path.c_str(), SOCK_SEQPACKET);
    const Socket server = connect_to(path, SOCK_SEQPACKET);
    const Socket accepted(accept4(listener.fd(), nullptr, nullptr, SOCK_CLOEXEC));
    ck_assert_int_ge(accepted.fd(), 0);  // in /proc/net/unix it has the path too
    listener.close();
    const Socket next = listen_at(path.c_str(), SOCK_SEQPACKET);
    ck_assert_int_ge(next.fd(), 0);
    unlink(path.c_str());
}
END_TEST

START_TEST(of_those_who_start_at_once_one_gets_it_and_keeps_it) {
    constexpr int processes = 8;
    for (int round = 0; round < 30; ++round) {
        leave_stale_file(SOCK_STREAM);
        int go[2], stop[2];
        ck_assert_int_eq(pipe(go), 0);
        ck_assert_int_eq(pipe(stop), 0);
        for (int i = 0; i < processes; ++i) {
            if (fork() != 0) continue;
            char byte;
            close(stop[1]);
            (void)!read(go[0], &byte, 1);
            const Socket listener = listen_at(path.c_str(), SOCK_STREAM);
            if (listener.fd() < 0) _exit(errno == EADDRINUSE ? 1 : 2);
            (void)!read(stop[0], &byte, 1);  // until all have tried
            for (;;) {                       // those who looked whether somebody listens have gone
                const Socket client(accept4(listener.fd(), nullptr, nullptr, SOCK_CLOEXEC));
                if (send(client.fd(), "x", 1, MSG_NOSIGNAL) == 1) _exit(0);
            }
        }
        const std::string start(processes, 'g');
        ck_assert_int_eq(write(go[1], start.data(), start.size()), processes);
        int statuses[4] = {};
        for (int i = 1, status; i < processes; ++i) {
            wait(&status);
            ++statuses[WEXITSTATUS(status)];
        }
        ck_assert_int_eq(statuses[1], processes - 1);
        const Socket client = connect_to(path, SOCK_STREAM);
        close(stop[1]);
        char byte;
        ck_assert_int_eq(recv(client.fd(), &byte, 1, 0), 1);
        int status;
        wait(&status);
        ck_assert_int_eq(status, 0);
        for (const int fd : {go[0], go[1], stop[0]}) close(fd);
    }
    unlink(path.c_str());
}
END_TEST

START_TEST(who_replaces_files_waits_for_others_who_do_but_not_for_ever) {
    char folder[] = "/tmp/fdworker-test-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(folder));
    const std::string inside = std::string(folder) + "/socket";
    Socket other(open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ck_assert_int_eq(flock(other.fd(), LOCK_EX), 0);
    ck_assert_int_lt(listen_at(inside.c_str(), SOCK_STREAM).fd(), 0);
    ck_assert_int_eq(errno, EWOULDBLOCK);
    std::thread ends([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        other.close();
    });
    const Socket listener = listen_at(inside.c_str(), SOCK_STREAM);
    ck_assert_int_ge(listener.fd(), 0);
    ends.join();
    unlink(inside.c_str());
    rmdir(folder);
}
END_TEST

START_TEST(what_is_no_socket_stays) {
    unlink(path.c_str());
    const Socket file(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    ck_assert(is_refused(path.c_str(), SOCK_STREAM));
    struct stat info;
    ck_assert_int_eq(stat(path.c_str(), &info), 0);
    unlink(path.c_str());
    ck_assert_int_lt(listen_at("/nowhere/at/all", SOCK_STREAM).fd(), 0);
    ck_assert_int_eq(errno, ENOENT);
}
END_TEST

}  // namespace

int main() {
    return run_suite(
        "listen",
        {what_nobody_has_is_replaced, what_is_bound_but_does_not_listen_yet_is_somebodys,
         whatever_name_its_file_is_called_by, a_full_backlog_is_not_waited_for,
         a_process_that_drains_leaves_its_path_to_the_next,
         of_those_who_start_at_once_one_gets_it_and_keeps_it,
         who_replaces_files_waits_for_others_who_do_but_not_for_ever, what_is_no_socket_stays});
}
