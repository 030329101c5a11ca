// SPDX-License-Identifier: BSD-3-Clause
// What the kernel says of a hand-off: who has it, how far the answer has come. Real connections
// over loopback, real processes as workers.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string_view>
#include <thread>

#include "mod_fd_transfer/progress.h"
#include "mod_fd_transfer/untaken.h"
#include "suite.h"

using namespace fd_transfer;

namespace {

constexpr std::string_view request = "GET / HTTP/1.1\r\n\r\n";

// A client, and the server's end of its connection; the request has been read.
struct Connection {
    int client, server;

    Connection() {
        const int listener = socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in address = {};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof(address);
        auto* const plain = reinterpret_cast<sockaddr*>(&address);
        ck_assert_int_eq(bind(listener, plain, size), 0);
        ck_assert_int_eq(listen(listener, 1), 0);
        ck_assert_int_eq(getsockname(listener, plain, &size), 0);
        client = socket(AF_INET, SOCK_STREAM, 0);
        ck_assert_int_eq(connect(client, plain, size), 0);
        server = accept(listener, nullptr, nullptr);
        close(listener);
        ck_assert_int_eq(write(client, request.data(), request.size()), ssize_t(request.size()));
        char buffer[100];
        ck_assert_int_eq(read(server, buffer, sizeof(buffer)), ssize_t(request.size()));
    }
    ~Connection() {
        close(client);
        close(server);
    }

    Untaken handoff(bool repeatable = true) const {
        return {.keeper = claim_for_server(server),
                .socket = server,
                .before = {0, request.size()},
                .repeatable = repeatable};
    }
};

// Runs `work` in a child that claims the socket first; the child has been reaped on return.
template <class Work>
void dead_worker(int socket, Work work) {
    const pid_t pid = fork();
    if (pid == 0) {
        fcntl(socket, F_SETOWN, getpid());
        work();
        _exit(0);
    }
    waitpid(pid, nullptr, 0);
}

constexpr ChannelView nothing_waits = {.broken = false, .empty = true, .death = true, .now = 100};
constexpr ChannelView something_waits = {
    .broken = false, .empty = false, .death = true, .now = 100};
constexpr ChannelView broken = {.broken = true, .empty = false, .death = true, .now = 100};

}  // namespace

START_TEST(progress_counts_what_was_written_and_read) {
    const Connection c;
    const Progress progress = *progress_of(c.server);
    ck_assert(progress_of(c.server, request.size()) == progress);
    ck_assert_uint_eq(progress.written, 0);
    ck_assert_uint_eq(progress.consumed, request.size());
    ck_assert_int_eq(write(c.client, "more", 4), 4);
    ck_assert_uint_eq(progress_of(c.server)->consumed, request.size());  // arrived, not read
    ck_assert_uint_eq(progress_of(c.server, request.size())->consumed, request.size());
    char buffer[10];
    ck_assert_int_eq(read(c.server, buffer, 3), 3);
    ck_assert_uint_eq(progress_of(c.server)->consumed, request.size() + 3);
    ck_assert_int_eq(write(c.server, "answer", 6), 6);
    ck_assert_uint_eq(progress_of(c.server)->written, 6);
}
END_TEST

START_TEST(progress_counts_what_the_client_does_not_take) {
    const Connection c;
    static char block[1 << 20];
    size_t written = 0;
    for (ssize_t size; (size = send(c.server, block, sizeof(block), MSG_DONTWAIT)) > 0;)
        written += size_t(size);
    ck_assert_uint_eq(progress_of(c.server)->written, written);
}
END_TEST

START_TEST(a_client_that_has_sent_all_it_will_changes_nothing) {
    const Connection c;
    shutdown(c.client, SHUT_WR);
    ck_assert_uint_eq(progress_of(c.server)->consumed, request.size());
    ck_assert_uint_eq(progress_of(c.server, request.size())->consumed, request.size());
}
END_TEST

START_TEST(what_a_client_sends_while_we_look_is_not_taken_for_read) {
    for (int round = 0; round < 500; ++round) {
        const Connection c;
        std::jthread client([&c] {
            for (int i = 0; i < 100; ++i) send(c.client, "next", 4, MSG_NOSIGNAL);
            shutdown(c.client, SHUT_WR);
        });
        for (int i = 0; i < 200; ++i)
            ck_assert_uint_eq(progress_of(c.server)->consumed, request.size());
    }
}
END_TEST

START_TEST(there_is_no_progress_on_what_cannot_be_answered) {
    const Connection c;
    shutdown(c.server, SHUT_WR);
    ck_assert(!progress_of(c.server));
    int pair[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    ck_assert(!progress_of(pair[0]));
    ck_assert(!progress_of(-1));
}
END_TEST

START_TEST(in_the_queue_it_is_pending) {
    const Connection c;
    Untaken handoff = c.handoff();
    ck_assert_int_eq(int(fate_of(handoff, something_waits)), int(Fate::pending));
    ck_assert(!handoff.missing_since);
}
END_TEST

START_TEST(with_a_living_worker_it_is_pending) {
    const Connection c;
    Untaken handoff = c.handoff();
    const pid_t worker = fork();
    if (worker == 0) {
        fcntl(c.server, F_SETOWN, getpid());
        kill(getpid(), SIGSTOP);
        _exit(0);
    }
    waitpid(worker, nullptr, WUNTRACED);
    ck_assert_int_eq(int(fate_of(handoff, nothing_waits)), int(Fate::pending));
    ck_assert_int_eq(int(fate_of(handoff, broken)), int(Fate::pending));
    kill(worker, SIGKILL);
    waitpid(worker, nullptr, 0);
    ck_assert_int_eq(int(fate_of(handoff, nothing_waits)), int(Fate::repeatable));
}
END_TEST

START_TEST(of_a_dead_worker_it_is_repeatable) {
    const Connection c;
    Untaken handoff = c.handoff();
    dead_worker(c.server, [] {});
    ck_assert_int_eq(int(fate_of(handoff, something_waits)), int(Fate::repeatable));
    ck_assert(handoff.received);
}
END_TEST

START_TEST(unsafe_requests_are_not_repeated) {
    const Connection c;
    Untaken handoff = c.handoff(false);
    dead_worker(c.server, [] {});
    ck_assert_int_eq(int(fate_of(handoff, nothing_waits)), int(Fate::unanswered));
}
END_TEST

START_TEST(what_the_worker_read_is_lost_with_it) {
    const Connection c;
    ck_assert_int_eq(write(c.client, "next", 4), 4);
    Untaken handoff = c.handoff();
    dead_worker(c.server, [&] {
        char buffer[10];
        (void)!read(c.server, buffer, sizeof(buffer));
    });
    ck_assert_int_eq(int(fate_of(handoff, nothing_waits)), int(Fate::unanswered));
}
END_TEST

START_TEST(an_answer_begun_is_broken_off) {
    const Connection c;
    Untaken handoff = c.handoff();
    dead_worker(c.server, [&] { (void)!write(c.server, "HTTP", 4); });
    ck_assert_int_eq(int(fate_of(handoff, nothing_waits)), int(Fate::broken_off));
}
END_TEST

namespace {

void announce(int socket, uint64_t id, uint64_t length) {
    const timeval value = {time_t((id & 0xfffff) << 32 | length), 0};
    setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &value, sizeof(value));
}

Fate fate_after(uint64_t announced, size_t written, uint64_t announced_id = 0x7654321) {
    const Connection c;
    Untaken handoff = c.handoff();
    handoff.id = 0x7654321;
    dead_worker(c.server, [&] {
        announce(c.server, announced_id, announced);
        if (written) (void)!write(c.server, "0123456789", written);
    });
    return fate_of(handoff, nothing_waits);
}

}  // namespace

START_TEST(an_announced_answer_is_complete_when_all_of_it_was_written) {
    ck_assert_int_eq(int(fate_after(10, 10)), int(Fate::complete));
    ck_assert_int_eq(int(fate_after(10, 9)), int(Fate::broken_off));
    ck_assert_int_eq(int(fate_after(9, 10)), int(Fate::broken_off));
    ck_assert_int_eq(int(fate_after(10, 0)), int(Fate::repeatable));
    ck_assert_int_eq(int(fate_after(10, 10, 0x7654320)),
                     int(Fate::broken_off));  // of an earlier one
}
END_TEST

START_TEST(a_breaking_channel_loses_what_nobody_received) {
    const Connection c;
    Untaken handoff = c.handoff();
    ck_assert_int_eq(int(fate_of(handoff, broken)), int(Fate::repeatable));
    ck_assert(!handoff.received);
}
END_TEST

START_TEST(received_and_not_claimed_counts_as_dead_after_two_seconds) {
    const Connection c;
    Untaken handoff = c.handoff();
    ChannelView view = nothing_waits;
    view.death = false;
    ck_assert_int_eq(int(fate_of(handoff, view)), int(Fate::pending));
    view.now += 10;  // nobody has died: a worker that does not claim may take its time
    ck_assert_int_eq(int(fate_of(handoff, view)), int(Fate::pending));
    view.death = true;
    ck_assert_int_eq(int(fate_of(handoff, view)), int(Fate::pending));
    view.death = false;
    view.now += 1;
    ck_assert_int_eq(int(fate_of(handoff, view)), int(Fate::pending));
    view.now += 1;
    ck_assert_int_eq(int(fate_of(handoff, view)), int(Fate::repeatable));
}
END_TEST

START_TEST(received_and_not_claimed_shows_even_if_others_wait) {
    const Connection c;
    Untaken handoff = c.handoff();
    handoff.id = 5;
    ChannelView view = something_waits;
    ck_assert_int_eq(int(fate_of(handoff, view)), int(Fate::pending));
    view.death = false;
    view.now += 10;  // it may be waiting in the queue all the time
    ck_assert_int_eq(int(fate_of(handoff, view)), int(Fate::pending));
    view.last_received = 6;  // and if it were, this one would be waiting behind it
    ck_assert_int_eq(int(fate_of(handoff, view)), int(Fate::pending));
    view.now += 2;
    ck_assert_int_eq(int(fate_of(handoff, view)), int(Fate::repeatable));
}
END_TEST

START_TEST(a_living_worker_that_answers_unannounced_is_let_be) {
    const Connection c;
    Untaken handoff = c.handoff();
    fcntl(c.server, F_SETOWN, getppid());
    ck_assert_int_eq(write(c.server, "HTTP", 4), 4);
    ChannelView view = nothing_waits;
    ck_assert_int_eq(int(fate_of(handoff, view)),
                     int(Fate::pending));  // its word may be on its way
    view.now += 1;
    ck_assert_int_eq(int(fate_of(handoff, view)), int(Fate::pending));
    view.now += 1;
    ck_assert_int_eq(int(fate_of(handoff, view)), int(Fate::answering));
    announce(c.server, handoff.id,
             100);  // means to return it: the server's descriptor is still of use
    ck_assert_int_eq(int(fate_of(handoff, nothing_waits)), int(Fate::pending));
}
END_TEST

START_TEST(an_ended_connection_is_gone) {
    const Connection c;
    Untaken handoff = c.handoff();
    dead_worker(c.server, [&] { shutdown(c.server, SHUT_RDWR); });
    ck_assert_int_eq(int(fate_of(handoff, nothing_waits)), int(Fate::gone));
}
END_TEST

int main() {
    return run_suite(
        "recovery",
        {progress_counts_what_was_written_and_read, progress_counts_what_the_client_does_not_take,
         a_client_that_has_sent_all_it_will_changes_nothing,
         what_a_client_sends_while_we_look_is_not_taken_for_read,
         there_is_no_progress_on_what_cannot_be_answered, in_the_queue_it_is_pending,
         with_a_living_worker_it_is_pending, of_a_dead_worker_it_is_repeatable,
         unsafe_requests_are_not_repeated, what_the_worker_read_is_lost_with_it,
         an_answer_begun_is_broken_off, an_announced_answer_is_complete_when_all_of_it_was_written,
         a_breaking_channel_loses_what_nobody_received,
         received_and_not_claimed_counts_as_dead_after_two_seconds,
         received_and_not_claimed_shows_even_if_others_wait,
         a_living_worker_that_answers_unannounced_is_let_be, an_ended_connection_is_gone});
}
