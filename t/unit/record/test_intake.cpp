// SPDX-License-Identifier: BSD-3-Clause
// libfdworker's Intake: every kind of source behind one fd, draining, refusals.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <fdworker.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "t/unit/record/intake_bench.h"

namespace {

// Hands over so many connections in one message; their clients leave.
void hand_over_together(int server, int count) {
    std::string message;
    std::vector<Socket> connections;
    std::vector<int> fds;
    for (int i = 0; i < count; ++i) {
        const HandoffRecord record{.flags = handoff_wants_taken,
                                   .id = std::uint64_t(i + 1),
                                   .head_length = std::uint32_t(request.size()),
                                   .data_length = std::uint32_t(request.size())};
        std::uint8_t header[handoff_header_size];
        encode_handoff(record, header);
        message.append(reinterpret_cast<const char*>(header), sizeof header).append(request);
        connections.push_back(std::move(Pair(SOCK_STREAM).theirs));
        fds.push_back(connections.back().fd());
    }
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(message.data());
    ck_assert(send_message(server, {bytes, message.size()}, {}, fds) == PassingError::none);
}

Socket listen_at(const std::string& path, int type) {
    const sockaddr_un address = address_of(path);
    Socket listener(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    unlink(path.c_str());
    ck_assert_int_eq(
        bind(listener.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ck_assert_int_eq(listen(listener.fd(), 8), 0);
    return listener;
}

START_TEST(nothing_at_hand_is_empty) {
    close(0);
    const Intake intake;
    ck_assert(intake.empty());
    ck_assert(!readable(intake.fd()));
}
END_TEST

START_TEST(a_queue_on_fd_0_is_found_and_greeted) {
    Pair queue(SOCK_SEQPACKET);
    dup2(queue.theirs.fd(), 0);
    Intake intake;
    ck_assert(!intake.empty());
    ck_assert(!(fcntl(0, F_GETFL) & O_NONBLOCK));
    ck_assert(told(queue.ours.fd()) == HandoffKind::hello);
    Handoff handoff;
    ck_assert(intake.receive(handoff) == Status::empty);

    const Socket client = hand_over(queue.ours.fd());
    ck_assert(readable(intake.fd()));
    ck_assert(intake.receive(handoff) == Status::ok);
    ck_assert(handoff.head() == request);
    intake.taken(handoff.ticket);
    ck_assert(told(queue.ours.fd()) == HandoffKind::taken);
    ck_assert(intake.return_socket(handoff.ticket, handoff.client.fd()) == Status::ok);
    ck_assert(told(queue.ours.fd()) == HandoffKind::return_socket);
}
END_TEST

START_TEST(the_end_of_the_queue_on_fd_0_means_drain_and_silence) {
    Pair queue(SOCK_SEQPACKET);
    dup2(queue.theirs.fd(), 0);
    Intake intake;
    const Socket client = hand_over(queue.ours.fd());
    queue.ours.close();
    queue.theirs.close();
    Handoff handoff;
    ck_assert(intake.receive(handoff) == Status::ok);
    ck_assert(intake.receive(handoff) == Status::drained);
    ck_assert(!readable(intake.fd()));
    ck_assert(intake.receive(handoff) == Status::empty);
}
END_TEST

START_TEST(sigterm_means_drain_and_responses_can_still_be_told) {
    Pair queue(SOCK_SEQPACKET);
    dup2(queue.theirs.fd(), 0);
    Intake intake;
    const Socket client = hand_over(queue.ours.fd());
    Handoff handoff, other;
    ck_assert(intake.receive(handoff) == Status::ok);
    raise(SIGTERM);
    ck_assert(readable(intake.fd()));
    ck_assert(intake.receive(other) == Status::drained);
    sigset_t pending;
    sigpending(&pending);
    ck_assert(!sigismember(&pending, SIGTERM));
    const Socket waits = hand_over(queue.ours.fd());  // for a sibling
    ck_assert(!readable(intake.fd()));
    ck_assert(intake.return_socket(handoff.ticket, handoff.client.fd()) == Status::ok);
}
END_TEST

// A socket that someone else has open too, as systemd has those of LISTEN_FDS.
Socket also_open_here(const Socket& socket) { return Socket(dup(socket.fd())); }

START_TEST(what_others_listen_at_too_is_left_to_them_after_the_drain) {
    const std::string path = path_of(".shared");
    for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
        const Socket elsewhere = listen_at(path, type);
        Intake intake;
        ck_assert(intake.add(also_open_here(elsewhere)) == Status::ok);
        raise(SIGTERM);
        Handoff handoff;
        ck_assert(intake.receive(handoff) == Status::drained);
        const Socket next = connect_to(path, type);  // the successor's
        ck_assert(!readable(intake.fd()));
        ck_assert(intake.receive(handoff) == Status::empty);
        ck_assert(readable(elsewhere.fd()));
    }
    unlink(path.c_str());
}
END_TEST

START_TEST(a_queue_that_others_have_too_is_silent_after_its_end) {
    Pair queue(SOCK_SEQPACKET);
    Intake intake;
    ck_assert(intake.add(also_open_here(queue.theirs)) == Status::ok);
    queue.ours.close();
    Handoff handoff;
    ck_assert(intake.receive(handoff) == Status::empty);
    ck_assert(!readable(intake.fd()));
    ck_assert(intake.receive(handoff) == Status::empty);
}
END_TEST

START_TEST(a_fork_that_ends_takes_nothing_from_its_parent) {
    Pair queue(SOCK_SEQPACKET);
    auto intake = std::make_unique<Intake>();
    ck_assert(intake->add(std::move(queue.theirs)) == Status::ok);
    const pid_t child = fork();
    if (child == 0) {
        intake.reset();
        _exit(0);
    }
    waitpid(child, nullptr, 0);
    const Socket client = hand_over(queue.ours.fd());
    ck_assert(readable(intake->fd()));
    Handoff handoff;
    ck_assert(intake->receive(handoff) == Status::ok);
}
END_TEST

START_TEST(a_server_connects_and_its_end_ends_only_its_queue) {
    const std::string path = path_of(".handoff");
    Intake intake;
    ck_assert(intake.listen_for_handoffs(path.c_str()) == Status::ok);
    Handoff handoff;
    for (int round = 0; round < 2; ++round) {
        Socket server = connect_to(path, SOCK_SEQPACKET);
        const Socket client = hand_over(server.fd());
        ck_assert(intake.receive(handoff) == Status::ok);
        ck_assert(told(server.fd()) == HandoffKind::hello);
        server.close();
        ck_assert(intake.receive(handoff) == Status::empty);
    }
    fdworker::Ticket gone{.id = 7, .queue = 2, .wants_taken = true};
    ck_assert(intake.return_socket(gone, 0) == Status::not_returnable);
    ck_assert(!is_refusal(Status::not_returnable));
    unlink(path.c_str());
}
END_TEST

START_TEST(two_servers_are_told_each_its_own) {
    const std::string path = path_of(".handoff");
    Intake intake;
    ck_assert(intake.listen_for_handoffs(path.c_str()) == Status::ok);
    Handoff handoffs[2];
    Socket servers[2], clients[2];
    for (int i : {0, 1}) {
        servers[i] = connect_to(path, SOCK_SEQPACKET);
        clients[i] = hand_over(servers[i].fd());
        ck_assert(intake.receive(handoffs[i]) == Status::ok);
        ck_assert(told(servers[i].fd()) == HandoffKind::hello);
    }
    intake.taken(handoffs[1].ticket);
    ck_assert(told(servers[1].fd()) == HandoffKind::taken);
    ck_assert(!readable(servers[0].fd()));
    unlink(path.c_str());
}
END_TEST

START_TEST(an_ordinary_connection_comes_without_data_and_cannot_be_returned) {
    const std::string path = path_of(".http");
    Intake intake;
    ck_assert(intake.listen_for_connections(path.c_str()) == Status::ok);
    const Socket proxy = connect_to(path, SOCK_STREAM);
    Handoff handoff;
    ck_assert(intake.receive(handoff) == Status::ok);
    ck_assert(handoff.data.empty() && handoff.head_length == 0);
    ck_assert(fcntl(handoff.client.fd(), F_GETFL) & O_NONBLOCK);
    intake.taken(handoff.ticket);
    ck_assert(intake.return_socket(handoff.ticket, handoff.client.fd()) == Status::not_returnable);
    ck_assert(intake.receive(handoff) == Status::empty);
    unlink(path.c_str());
}
END_TEST

START_TEST(a_stale_socket_file_is_replaced_and_one_in_use_is_not) {
    const std::string path = path_of(".stale");
    for (int round = 0; round < 2; ++round) {  // the second finds the file of the first
        Intake intake, second;
        ck_assert(intake.listen_for_connections(path.c_str()) == Status::ok);
        ck_assert(second.listen_for_connections(path.c_str()) == Status::system_error);
        ck_assert_int_eq(errno, EADDRINUSE);
    }
    unlink(path.c_str());
    Intake intake;
    ck_assert(intake.listen_for_handoffs(std::string(200, 'x').c_str()) == Status::system_error);
    ck_assert_int_eq(errno, ENAMETOOLONG);
    ck_assert(intake.add(Socket(open("/dev/null", O_RDONLY))) == Status::system_error);
    ck_assert_int_eq(errno, ENOTSOCK);
}
END_TEST

START_TEST(listening_sockets_are_inherited_by_listen_fds) {
    Socket listener(socket(AF_INET, SOCK_STREAM, 0));
    ck_assert_int_eq(listen(listener.fd(), 1), 0);
    sockaddr_in address{};
    socklen_t size = sizeof address;
    getsockname(listener.fd(), reinterpret_cast<sockaddr*>(&address), &size);
    close(0);
    setenv("LISTEN_FDS", std::to_string(listener.fd() - 2).c_str(), 1);  // the last is ours
    setenv("LISTEN_PID", "1", 1);
    ck_assert(Intake().empty());
    setenv("LISTEN_PID", std::to_string(getpid()).c_str(), 1);
    Intake intake;
    ck_assert(!intake.empty());
    ck_assert(fcntl(listener.release(), F_GETFD) & FD_CLOEXEC);
    const Socket client(socket(AF_INET, SOCK_STREAM, 0));
    ck_assert_int_eq(connect(client.fd(), reinterpret_cast<sockaddr*>(&address), size), 0);
    Handoff handoff;
    ck_assert(intake.receive(handoff) == Status::ok);
}
END_TEST

START_TEST(what_came_together_comes_before_everything_else) {
    Pair queue(SOCK_SEQPACKET);
    dup2(queue.theirs.fd(), 0);
    Intake intake(fdworker::Delivery::batches);
    ck_assert(told(queue.ours.fd()) == HandoffKind::hello);
    hand_over_together(queue.ours.fd(), 3);
    raise(SIGTERM);
    Handoff handoff;
    Status status;
    int received = 0;
    while ((status = intake.receive(handoff)) == Status::ok) {
        ++received;
        intake.taken(handoff.ticket);
        ck_assert(!readable(queue.ours.fd()));
    }
    // The signal may have been seen first: then the siblings have all of them.
    ck_assert(received == 0 || received == 3);
    ck_assert(status == Status::drained && !intake.has_more());
    intake.flush();
    ck_assert_int_eq(readable(queue.ours.fd()), received > 0);
}
END_TEST

START_TEST(has_more_says_what_the_fd_does_not) {
    Pair queue(SOCK_SEQPACKET);
    dup2(queue.theirs.fd(), 0);
    Intake intake(fdworker::Delivery::batches);
    hand_over_together(queue.ours.fd(), 3);
    Handoff handoff;
    for (const bool more : {true, true, false}) {
        ck_assert(intake.receive(handoff) == Status::ok);
        ck_assert_uint_eq(handoff.ticket.queue, 2);  // after the signal
        ck_assert(!readable(intake.fd()));
        ck_assert_int_eq(intake.has_more(), more);
    }
    ck_assert(intake.receive(handoff) == Status::empty);
}
END_TEST

void check_notes_without_room(fdworker::Delivery delivery) {
    Pair queue(SOCK_SEQPACKET);
    dup2(queue.theirs.fd(), 0);
    Intake intake(delivery);
    take_many(intake);
    ck_assert(!readable(intake.fd()));
    const std::size_t told = told_by_now(queue.ours.fd());
    ck_assert_uint_lt(told, many_notes);
    ck_assert_uint_eq(told + told_until_silence(intake, queue.ours.fd()),
                      many_notes + 1);  // and hello
}

START_TEST(a_note_without_room_goes_out_when_there_is_some) {
    check_notes_without_room(fdworker::Delivery::single);
}
END_TEST

START_TEST(notes_without_room_go_out_when_there_is_some) {
    check_notes_without_room(fdworker::Delivery::batches);
}
END_TEST

START_TEST(notes_without_room_go_out_after_the_drain_and_nothing_comes_in) {
    Pair queue(SOCK_SEQPACKET);
    dup2(queue.theirs.fd(), 0);
    Intake intake;
    take_many(intake);
    raise(SIGTERM);
    Handoff handoff;
    ck_assert(intake.receive(handoff) == Status::drained);
    const Socket waits = hand_over(queue.ours.fd());  // for a sibling
    ck_assert(!readable(intake.fd()));
    ck_assert_uint_eq(told_until_silence(intake, queue.ours.fd()), many_notes + 1);  // and hello
    take_many(intake);
    ck_assert_uint_eq(told_until_silence(intake, queue.ours.fd()), many_notes);
    take_many(intake);
    queue.ours.close();  // the server's end
    queue.theirs.close();
    ck_assert_uint_eq(told_until_silence(intake, -1), 0);
}
END_TEST

START_TEST(notes_without_room_go_out_at_the_end_to_a_server_that_reads) {
    Pair queue(SOCK_SEQPACKET);
    std::size_t told = 0;
    std::thread server;
    {
        Intake intake;
        ck_assert(intake.add(std::move(queue.theirs)) == Status::ok);
        take_many(intake);
        server = std::thread([&] {
            pollfd wait{queue.ours.fd(), POLLIN, 0};
            do {
                poll(&wait, 1, 20000);
                told += told_by_now(queue.ours.fd());
            } while (!(wait.revents & POLLHUP));
        });
    }
    server.join();
    ck_assert_uint_eq(told, many_notes + 1);  // and hello
}
END_TEST

START_TEST(servers_that_do_not_read_or_have_gone_delay_the_end_for_a_second_in_all) {
    using Clock = std::chrono::steady_clock;
    std::vector<Pair> queues;
    Clock::time_point begin;
    {
        Intake intake;
        for (unsigned number : {2, 3, 4, 5}) {
            Pair& queue = queues.emplace_back(SOCK_SEQPACKET);
            ck_assert(intake.add(std::move(queue.theirs)) == Status::ok);
            take_many(intake, number);
        }
        queues[0].ours.close();
        begin = Clock::now();
    }
    const auto time = Clock::now() - begin;
    ck_assert(time >= std::chrono::seconds(1));
    ck_assert(time < std::chrono::seconds(3));  // one for each of the three
    begin = Clock::now();
    {
        Intake intake;
        Pair queue(SOCK_SEQPACKET);
        ck_assert(intake.add(std::move(queue.theirs)) == Status::ok);
        take_many(intake);
    }
    ck_assert(Clock::now() - begin < std::chrono::seconds(1));  // `queue` went first
}
END_TEST

START_TEST(a_refusal_is_a_whole_response_and_ends_the_connection) {
    Pair queue(SOCK_SEQPACKET);
    Intake intake;
    ck_assert(intake.add(std::move(queue.theirs)) == Status::ok);
    const Socket client = hand_over(queue.ours.fd());
    Handoff handoff;
    ck_assert(intake.receive(handoff) == Status::ok);
    ck_assert_int_eq(send(client.fd(), "unread body", 11, 0), 11);
    intake.refuse(std::move(handoff), 503, "Service Unavailable");
    std::string response(4096, '\0');
    response.resize(std::size_t(recv(client.fd(), response.data(), response.size(), 0)));
    ck_assert(response.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
    ck_assert(response.ends_with("\r\nContent-Length: 24\r\n\r\n503 Service Unavailable\n"));
    char end;
    ck_assert_int_eq(recv(client.fd(), &end, 1, 0), 0);
    ck_assert(told(queue.ours.fd()) == HandoffKind::hello);
    ck_assert(told(queue.ours.fd()) == HandoffKind::taken);
}
END_TEST

}  // namespace

int main() {
    return run_suite("intake",
                     {nothing_at_hand_is_empty,
                      a_queue_on_fd_0_is_found_and_greeted,
                      the_end_of_the_queue_on_fd_0_means_drain_and_silence,
                      sigterm_means_drain_and_responses_can_still_be_told,
                      what_others_listen_at_too_is_left_to_them_after_the_drain,
                      a_queue_that_others_have_too_is_silent_after_its_end,
                      a_fork_that_ends_takes_nothing_from_its_parent,
                      a_server_connects_and_its_end_ends_only_its_queue,
                      two_servers_are_told_each_its_own,
                      an_ordinary_connection_comes_without_data_and_cannot_be_returned,
                      a_stale_socket_file_is_replaced_and_one_in_use_is_not,
                      listening_sockets_are_inherited_by_listen_fds,
                      what_came_together_comes_before_everything_else,
                      has_more_says_what_the_fd_does_not,
                      a_note_without_room_goes_out_when_there_is_some,
                      notes_without_room_go_out_when_there_is_some,
                      notes_without_room_go_out_after_the_drain_and_nothing_comes_in,
                      notes_without_room_go_out_at_the_end_to_a_server_that_reads,
                      servers_that_do_not_read_or_have_gone_delay_the_end_for_a_second_in_all,
                      a_refusal_is_a_whole_response_and_ends_the_connection});
}
