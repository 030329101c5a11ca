// SPDX-License-Identifier: BSD-3-Clause
// How connections end: plainly, by the server's lingering close, or by that of the Intake, so that
// the answer arrives at a client that is still sending.
#include <errno.h>
#include <sys/wait.h>

#include <memory>
#include <thread>
#include <vector>

#include "t/unit/record/few_descriptors.h"
#include "t/unit/record/intake_bench.h"
#include "worker/cpp/unread.h"

namespace {

using fdworker::Delivery;
using fdworker::Reports;
using fdworker::Unread;
using namespace std::chrono_literals;

const std::string upload = "POST /hot/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
const std::string body(1000000, 'b');

START_TEST(what_may_be_unread_is_seen_in_the_head) {
    const struct {
        std::string fields, rest;
        Unread expected;
    } cases[] = {
        {"", "", Unread::none},
        {"", "GET /", Unread::likely},
        {"Content-Length: 0\r\n", "", Unread::none},
        {"Content-Length: 3\r\n", "", Unread::likely},
        {"Content-Length: 3\r\n", "ab", Unread::likely},
        {"Content-Length: 3\r\n", "abc", Unread::none},
        {"Content-Length: 3\r\n", "abcGET /", Unread::likely},
        {"CONTENT-length:\t3 \r\n", "abc", Unread::none},
        {"content-length:3\r\n", "abc", Unread::none},
        {"Content-Length: 99999999999999999999\r\n", "", Unread::likely},
        {"Content-Length: x\r\n", "", Unread::likely},
        {"Transfer-Encoding: chunked\r\n", "", Unread::likely},
        {"transfer-encoding: chunked\r\n", "0\r\n\r\n", Unread::likely},
        {"X-Content-Length: 3\r\n", "", Unread::none},
        {"X-Note: Transfer-Encoding: chunked\r\n", "", Unread::none},
        {"Content-Lengths: 3\r\n", "", Unread::none},
    };
    for (const auto& one : cases) {
        const std::string head =
            "GET /Content-Length:9 HTTP/1.1\r\nHost: a\r\n" + one.fields + "\r\n";
        const Unread unread = fdworker::unread_of(head, one.rest);
        ck_assert_msg(unread == one.expected, "%s%s", one.fields.c_str(), one.rest.c_str());
    }
}
END_TEST

// A worker's Intake, and its server's end of the queue.
struct Bench {
    explicit Bench(Delivery delivery = Delivery::single, Reports reports = Reports::none)
        : worker_end(dup(queue.theirs.fd())), intake(std::make_unique<Intake>(delivery, reports)) {
        ck_assert(intake->add(std::move(queue.theirs)) == Status::ok);
        ck_assert(told(queue.ours.fd()) == HandoffKind::hello);
    }

    Handoff receive(const std::string& head, Socket& client) {
        client = hand_over(queue.ours.fd(), head);
        Handoff handoff;
        ck_assert(intake->receive(handoff) == Status::ok);
        return handoff;
    }
    bool told_nothing() const { return !readable(queue.ours.fd()); }
    // The server takes the connection for its end.
    void check_returned_for_its_end(std::uint64_t id = 7) {
        std::uint8_t buffer[handoff_message_max];
        ReceivedMessage message;
        ck_assert(receive_message(queue.ours.fd(), buffer, message) == PassingError::none);
        HandoffRecord record;
        ck_assert(decode_handoff({buffer, message.size}, message.fds.count(), record) ==
                  HandoffError::none);
        ck_assert(record.kind == HandoffKind::return_socket && record.ends_connection());
        ck_assert(!record.without_socket());
        ck_assert_uint_eq(record.id, id);
        ck_assert_uint_eq(record.socket_index, 3);
        ck_assert_uint_eq(record.data_length, 0);
    }

    Pair queue{SOCK_SEQPACKET};
    Socket worker_end;  // what a sibling has
    std::unique_ptr<Intake> intake;
};

void say(const Handoff& handoff, const std::string& text) {
    ck_assert_int_eq(send(handoff.client.fd(), text.data(), text.size(), MSG_NOSIGNAL),
                     ssize_t(text.size()));
}

// True if the client, which sends its body meanwhile, gets `text` and the end, and no reset.
bool gets(const Socket& client, const std::string& text, Intake* intake) {
    std::size_t sent = 0;
    std::string got;
    for (int turns = 0; turns < 100000; ++turns) {
        if (sent < body.size()) {
            const ssize_t size =
                send(client.fd(), &body[sent], body.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (size < 0 && errno != EAGAIN) return false;
            sent += std::size_t(std::max<ssize_t>(size, 0));
            if (sent == body.size()) shutdown(client.fd(), SHUT_WR);
        }
        Handoff none;
        if (intake != nullptr && readable(intake->fd())) intake->receive(none);
        char piece[4096];
        const ssize_t size = recv(client.fd(), piece, sizeof piece, MSG_DONTWAIT);
        if (size == 0 && sent == body.size()) return got == text;
        if (size < 0 && errno != EAGAIN) return false;
        if (size > 0) got.append(piece, std::size_t(size));
    }
    return false;
}

START_TEST(the_server_ends_what_may_have_an_unread_body) {
    for (const bool says_taken : {false, true}) {
        Bench bench;
        Socket client;
        Handoff handoff = bench.receive(upload, client);
        ck_assert(handoff.ticket.unread == Unread::likely);
        if (says_taken) {
            bench.intake->taken(handoff.ticket);
            ck_assert(told(bench.queue.ours.fd()) == HandoffKind::taken);
        }
        handoff.client.end_connection();
        ck_assert_int_lt(handoff.client.fd(), 0);
        bench.check_returned_for_its_end();
        ck_assert(bench.told_nothing());
        handoff.client.end_connection();  // once
        ck_assert(bench.told_nothing());
    }
}
END_TEST

START_TEST(what_has_none_ends_plainly) {
    const std::string with_body = "POST /hot/ HTTP/1.1\r\nContent-Length: 2\r\n\r\n";
    for (const std::string& head : {request, with_body}) {
        Bench bench;
        Socket client;
        Handoff handoff = bench.receive(head + (head == request ? "" : "ok"), client);
        ck_assert(handoff.ticket.unread == Unread::none);
        say(handoff, "answer");
        handoff.client.end_connection();
        ck_assert(bench.told_nothing());
        ck_assert(!readable(bench.intake->fd()));
        char text[10];
        ck_assert_int_eq(recv(client.fd(), text, sizeof text, 0), 6);
        ck_assert_int_eq(recv(client.fd(), text, sizeof text, 0), 0);
    }
}
END_TEST

START_TEST(a_return_for_the_end_carries_the_answer) {
    Bench bench(_i ? Delivery::batches : Delivery::single, Reports::done);
    Socket client;
    Handoff handoff = bench.receive(upload, client);
    bench.intake->end_connection(std::move(handoff), {413, 12});
    const Told note = told_with_answer(bench.queue.ours.fd());
    ck_assert(note.record.kind == HandoffKind::return_socket && note.record.ends_connection());
    ck_assert_int_eq(note.answer.status, 413);
    ck_assert_uint_eq(note.answer.bytes, 12);

    handoff = bench.receive(request, client);
    bench.intake->end_connection(handoff.ticket, handoff.client.fd(), {200, 3});
    bench.intake->done(handoff.ticket, {500, 9});  // it was said
    bench.intake->flush();
    const Told last = told_with_answer(bench.queue.ours.fd());
    ck_assert(last.record.kind == HandoffKind::done);
    ck_assert_int_eq(last.answer.status, 200);
    ck_assert_uint_eq(last.answer.bytes, 3);
    ck_assert(bench.told_nothing());
    char end;
    ck_assert_int_eq(recv(client.fd(), &end, 1, 0), 0);
}
END_TEST

START_TEST(what_was_said_before_comes_before) {
    Bench bench(Delivery::batches, Reports::done);
    Socket client;
    Handoff handoff = bench.receive(upload, client);
    bench.intake->done(handoff.ticket, {200, 3});
    ck_assert(bench.told_nothing());  // before flush()
    handoff.client.end_connection();
    ck_assert(told_with_answer(bench.queue.ours.fd()).record.kind == HandoffKind::done);
    bench.check_returned_for_its_end();
}
END_TEST

START_TEST(with_a_full_queue_it_lingers_here) {
    for (const bool by_socket : {true, false}) {
        Bench bench;
        Socket client;
        Handoff handoff = bench.receive(upload, client);
        say(handoff, "answer");
        take_many(*bench.intake);
        if (by_socket)
            handoff.client.end_connection();
        else
            bench.intake->end_connection(std::move(handoff));
        ck_assert(gets(client, "answer", bench.intake.get()));
    }
}
END_TEST

START_TEST(when_the_server_has_gone_it_lingers_here) {
    Bench bench;
    Socket clients[2];
    Handoff first = bench.receive(upload, clients[0]), second = bench.receive(upload, clients[1]);
    bench.queue.ours.close();
    Handoff none;
    ck_assert(bench.intake->receive(none) == Status::empty);
    for (Handoff* handoff : {&first, &second}) say(*handoff, "answer");
    first.client.end_connection();
    bench.intake->end_connection(std::move(second));
    for (const Socket& client : clients) ck_assert(gets(client, "answer", bench.intake.get()));
}
END_TEST

START_TEST(what_lingers_goes_on_during_the_drain_and_the_end_waits_for_it) {
    Bench bench;
    Socket clients[2];
    bench.intake->limit_lingering(10, 20s);
    Handoff first = bench.receive(upload, clients[0]), second = bench.receive(upload, clients[1]);
    bench.queue.ours.close();
    raise(SIGTERM);
    Handoff none;
    while (bench.intake->receive(none) != Status::drained) {
    }
    say(first, "answer");
    first.client.end_connection();
    ck_assert(gets(clients[0], "answer", bench.intake.get()));
    say(second, "answer");
    second.client.end_connection();
    std::thread client([&] { ck_assert(gets(clients[1], "answer", nullptr)); });
    bench.intake.reset();
    client.join();
}
END_TEST

START_TEST(ordinary_connections_linger_if_something_is_unread) {
    const std::string path = path_of(".http");
    Intake intake;
    ck_assert(intake.listen_for_connections(path.c_str()) == Status::ok);
    for (const bool sends : {true, false}) {
        const Socket client = connect_to(path, SOCK_STREAM);
        Handoff handoff;
        ck_assert(intake.receive(handoff) == Status::ok);
        ck_assert(handoff.ticket.unread == Unread::unknown);
        if (sends) ck_assert_int_eq(send(client.fd(), "x", 1, 0), 1);
        say(handoff, "answer");
        handoff.client.end_connection();
        if (sends) {
            ck_assert(gets(client, "answer", &intake));
            continue;
        }
        ck_assert_int_lt(send(client.fd(), "x", 1, MSG_NOSIGNAL), 0);  // closed
    }
    unlink(path.c_str());
}
END_TEST

START_TEST(nobody_lingers_for_ever) {
    Bench bench;
    bench.intake->limit_lingering(10, 50ms);
    Socket client;
    Handoff handoff = bench.receive(upload, client);
    take_many(*bench.intake);
    handoff.client.end_connection();
    told_until_silence(*bench.intake, bench.queue.ours.fd());
    ck_assert_int_eq(send(client.fd(), "x", 1, MSG_NOSIGNAL), 1);
    Handoff none;
    do {
        ck_assert(readable(bench.intake->fd(), 20000));
        ck_assert(bench.intake->receive(none) == Status::empty);
    } while (send(client.fd(), "x", 1, MSG_NOSIGNAL) == 1);
    ck_assert_int_eq(errno, EPIPE);
    ck_assert(!readable(bench.intake->fd(), 100));
}
END_TEST

START_TEST(the_oldest_goes_when_too_many_linger) {
    for (const std::size_t most : {2u, 0u}) {
        Bench bench;
        bench.intake->limit_lingering(most, 20s);
        std::vector<Socket> clients(5);
        std::vector<Handoff> handoffs;
        for (Socket& client : clients) handoffs.push_back(bench.receive(upload, client));
        take_many(*bench.intake);
        for (Handoff& handoff : handoffs) handoff.client.end_connection();
        std::size_t lingering = 0;
        for (const Socket& client : clients)
            lingering += send(client.fd(), "x", 1, MSG_NOSIGNAL) == 1;
        ck_assert_uint_eq(lingering, most);
        for (Socket& client : clients) client.close();  // for the end
    }
}
END_TEST

START_TEST(a_socket_outlives_its_intake) {
    Bench bench;
    Socket client;
    Handoff handoff = bench.receive(upload, client);
    ck_assert_int_eq(send(client.fd(), body.data(), 100000, MSG_DONTWAIT), 100000);
    bench.intake.reset();
    say(handoff, "answer");
    handoff.client.end_connection();
    char text[10];
    ck_assert_int_eq(recv(client.fd(), text, sizeof text, 0), 6);
    ck_assert_int_eq(recv(client.fd(), text, sizeof text, 0), 0);  // it was dropped
}
END_TEST

START_TEST(a_fork_ends_connections_without_its_parent) {
    Bench bench;
    Socket clients[2];
    Handoff first = bench.receive(upload, clients[0]), second = bench.receive(upload, clients[1]);
    const pid_t child = fork();
    if (child == 0) {
        first.client.end_connection();
        const std::uint8_t byte[] = {0};
        while (send_message(bench.worker_end.fd(), byte, {}, {}) == PassingError::none) {
        }
        second.client.end_connection();  // there is no room
        _exit(0);
    }
    waitpid(child, nullptr, 0);
    first.client.close();
    second.client.close();
    bench.check_returned_for_its_end();
    told_by_now(bench.queue.ours.fd());
    ck_assert_int_lt(send(clients[1].fd(), "x", 1, MSG_NOSIGNAL), 0);  // nobody watches it
    ck_assert(!readable(bench.intake->fd()));
}
END_TEST

START_TEST(other_threads_may_end_connections) {
    constexpr int count = 200;
    Bench bench(Delivery::single, Reports::done);
    std::vector<Socket> clients(count);
    std::vector<std::thread> threads;
    std::size_t returned = 0;
    for (int i = 0; i < count; ++i) {
        Handoff handoff = bench.receive(upload, clients[std::size_t(i)]);
        bench.intake->done(handoff.ticket, {200, 1});
        threads.emplace_back(
            [client = std::move(handoff.client)]() mutable { client.end_connection(); });
        returned += told_returns(bench.queue.ours.fd());
    }
    for (std::thread& thread : threads) thread.join();
    bench.intake->flush();
    returned += told_returns(bench.queue.ours.fd());
    ck_assert_uint_eq(returned, count);
}
END_TEST

START_TEST(with_any_number_of_descriptors_a_connection_ends) {
    for (int free = 0; free <= 3; ++free) {
        Bench bench;
        Socket client;
        Handoff handoff = bench.receive(upload, client);
        say(handoff, "answer");
        take_many(*bench.intake);
        {
            const FewDescriptors few(free);
            bench.intake->end_connection(std::move(handoff));
        }
        char text[10];
        ck_assert_int_eq(recv(client.fd(), text, sizeof text, 0), 6);
        ck_assert_int_eq(recv(client.fd(), text, sizeof text, 0), 0);
    }
}
END_TEST

START_TEST(a_refusal_arrives_though_the_body_is_not_read) {
    Bench bench(Delivery::single, Reports::done);
    Socket client;
    bench.intake->refuse(bench.receive(upload, client), 413, "Content Too Large");
    const Told note = told_with_answer(bench.queue.ours.fd());
    ck_assert(note.record.kind == HandoffKind::return_socket && note.record.ends_connection());
    ck_assert_int_eq(note.answer.status, 413);
    ck_assert_uint_eq(note.answer.bytes, sizeof "413 Content Too Large\n" - 1);
}
END_TEST

START_TEST(a_refusal_of_head_has_no_body) {
    Bench bench(Delivery::single, Reports::done);
    Socket client;
    const std::string head = "HEAD /hot/ HTTP/1.1\r\nHost: a\r\n\r\n";
    bench.intake->refuse(bench.receive(head, client), 503, "Service Unavailable");
    const Told note = told_with_answer(bench.queue.ours.fd());
    ck_assert(note.record.kind == HandoffKind::done);
    ck_assert_int_eq(note.answer.status, 503);
    ck_assert_uint_eq(note.answer.bytes, 0);
    std::string response(4096, '\0');
    response.resize(std::size_t(recv(client.fd(), response.data(), response.size(), MSG_WAITALL)));
    ck_assert(response.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
    ck_assert(response.ends_with("\r\nContent-Length: 24\r\n\r\n"));
}
END_TEST

}  // namespace

int main() {
    Suite* const suite = suite_create("intake ending");
    TCase* const tests = tcase_create("ending");
    for (const TTest* test :
         {what_may_be_unread_is_seen_in_the_head, the_server_ends_what_may_have_an_unread_body,
          what_has_none_ends_plainly, what_was_said_before_comes_before,
          with_a_full_queue_it_lingers_here, when_the_server_has_gone_it_lingers_here,
          what_lingers_goes_on_during_the_drain_and_the_end_waits_for_it,
          ordinary_connections_linger_if_something_is_unread, nobody_lingers_for_ever,
          the_oldest_goes_when_too_many_linger, a_socket_outlives_its_intake,
          a_fork_ends_connections_without_its_parent, other_threads_may_end_connections,
          with_any_number_of_descriptors_a_connection_ends,
          a_refusal_arrives_though_the_body_is_not_read, a_refusal_of_head_has_no_body})
        tcase_add_test(tests, test);
    tcase_add_loop_test(tests, a_return_for_the_end_carries_the_answer, 0, 2);
    tcase_set_timeout(tests, 30);
    suite_add_tcase(suite, tests);
    SRunner* const runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
