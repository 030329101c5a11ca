// SPDX-License-Identifier: BSD-3-Clause
// libfdworker's queue: good records become hand-offs, every bad one is a typed status that closes
// what came with it, and the next hand-off still arrives.
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "process/handoff_fields.h"
#include "t/unit/record/few_descriptors.h"
#include "worker/cpp/queue.h"

// clang-format off: check.h defines fail() as a macro, so it comes after the C++ headers.
#include <check.h>
// clang-format on

using namespace process;
using fdworker::Delivery;
using fdworker::Reports;
using fdworker::Status;

namespace {

const std::string request = "GET /hot/ HTTP/1.1\r\nHost: a\r\n\r\n";

int open_fds() {
    DIR* directory = opendir("/proc/self/fd");
    int count = 0;
    while (readdir(directory) != nullptr) ++count;
    closedir(directory);
    return count;
}

// A server's end, a worker's queue, and a client's connection to hand over.
struct Bench {
    explicit Bench(Delivery delivery = Delivery::single, Reports reports = Reports::none)
        : queue(fdworker::Socket(connect_queue()), delivery, reports) {}

    int server = -1, client = -1, accepted = -1;
    fdworker::Queue queue;

    int connect_queue() {
        int ends[2];
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        client = ends[0];
        accepted = ends[1];
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
        server = ends[0];
        return ends[1];
    }
    ~Bench() {
        for (const int fd : {server, client, accepted}) close(fd);
    }

    void send(const HandoffRecord& record, const std::string& data, std::vector<int> fds) {
        std::uint8_t header[handoff_header_size];
        encode_handoff(record, header);
        send_bytes({header, sizeof header}, data, fds);
    }
    void send_bytes(std::span<const std::uint8_t> header, const std::string& data,
                    std::vector<int> fds) {
        const auto* bytes = reinterpret_cast<const std::uint8_t*>(data.data());
        ck_assert(send_message(server, header, {bytes, data.size()}, fds) == PassingError::none);
    }
    HandoffRecord record() const {
        return {.id = 7,
                .socket_index = 3,
                .head_length = std::uint32_t(request.size()),
                .data_length = std::uint32_t(request.size())};
    }
    // What the worker told the server in one message; `message` keeps the fds.
    std::vector<HandoffRecord> told_together(ReceivedMessage& message) {
        std::uint8_t buffer[handoff_message_max];
        ck_assert(receive_message(server, buffer, message) == PassingError::none);
        HandoffReader reader({buffer, message.size}, message.fds.count());
        std::vector<HandoffRecord> records;
        while (!reader.done()) ck_assert(reader.next(records.emplace_back()) == HandoffError::none);
        return records;
    }
    HandoffRecord told(ReceivedMessage& message) {
        const auto records = told_together(message);
        ck_assert_uint_eq(records.size(), 1);
        return records[0];
    }
    // Takes the messages that are there, whatever they say: how many.
    std::size_t take_all() {
        std::uint8_t buffer[handoff_message_max];
        ReceivedMessage message;
        std::size_t count = 0;
        while (receive_message(server, buffer, message) == PassingError::none) ++count;
        return count;
    }
    bool told_nothing() {
        std::uint8_t buffer[handoff_header_size];
        ReceivedMessage message;
        return receive_message(server, buffer, message) == PassingError::would_block;
    }
    // One message: a request for each id, 0 for a record that is no request.
    void send_together(const std::vector<std::uint64_t>& ids, std::uint16_t flags = 0) {
        std::string message;
        for (const std::uint64_t id : ids) {
            HandoffRecord one = id ? record() : HandoffRecord{.kind = HandoffKind::hello};
            one.id = id;
            if (id) one.flags = flags;
            std::uint8_t header[handoff_header_size];
            encode_handoff(one, header);
            message.append(reinterpret_cast<const char*>(header), sizeof header);
            if (id) message += request;
        }
        const auto requests = ids.size() - std::size_t(std::count(ids.begin(), ids.end(), 0));
        send_bytes({}, message, std::vector<int>(requests, accepted));
    }
    void good_one_arrives() {
        send(record(), request, {accepted});
        fdworker::Handoff handoff;
        ck_assert_int_eq(int(queue.receive(handoff)), int(Status::ok));
        ck_assert_str_eq(handoff.data.c_str(), request.c_str());
    }
    void refuses(Status expected, const HandoffRecord& bad, const std::string& data,
                 std::vector<int> fds) {
        const int before = open_fds();
        send(bad, data, fds);
        fdworker::Handoff handoff;
        const Status status = queue.receive(handoff);
        ck_assert_str_eq(text(status), text(expected));
        ck_assert(is_refusal(status));
        ck_assert_int_eq(open_fds(), before);
        good_one_arrives();
    }
};

START_TEST(a_request_becomes_a_handoff_and_is_claimed) {
    Bench bench;
    HandoffRecord record = bench.record();
    record.flags = handoff_raw_stage | handoff_wants_taken;
    record.data_length += 3;
    bench.send(record, request + std::string("a\0b", 3), {bench.accepted});
    fdworker::Handoff handoff;
    ck_assert(bench.queue.receive(handoff) == Status::ok);
    ck_assert(handoff.head() == request);
    ck_assert(handoff.rest() == std::string_view("a\0b", 3));
    ck_assert(handoff.raw_stage && handoff.ticket.wants_taken);
    ck_assert_uint_eq(handoff.ticket.id, 7);
    ck_assert_int_eq(fcntl(bench.accepted, F_GETOWN), getpid());
    ck_assert(bench.queue.receive(handoff) == Status::empty);
}
END_TEST

START_TEST(a_large_request_comes_in_a_memfd) {
    Bench bench;
    const std::string data = request + std::string(200000, 'x');
    const int memfd = memfd_create("test", MFD_CLOEXEC);
    ck_assert_int_eq(write(memfd, data.data(), data.size()), ssize_t(data.size()));
    HandoffRecord record = bench.record();
    record.flags = handoff_in_memfd;
    record.data_length = data.size();
    bench.send(record, "", {bench.accepted, memfd});
    fdworker::Handoff handoff;
    ck_assert(bench.queue.receive(handoff) == Status::ok);
    ck_assert(handoff.data == data);
    record.data_length += 1;
    bench.refuses(Status::short_memfd, record, "", {bench.accepted, memfd});
    close(memfd);
}
END_TEST

START_TEST(bad_records_are_refused_and_the_queue_goes_on) {
    Bench bench;
    const HandoffRecord good = bench.record();
    HandoffRecord bad = good;
    bad.kind = HandoffKind(9);
    bench.refuses(Status::bad_kind, bad, request, {bench.accepted});
    bad = good;
    bad.flags = 0x80;
    bench.refuses(Status::bad_flags, bad, request, {bench.accepted});
    bench.refuses(Status::bad_lengths, good, request.substr(1), {bench.accepted});
    bench.refuses(Status::bad_lengths, good, request + "x", {bench.accepted});
    bench.refuses(Status::missing_fd, good, request, {});
    bench.refuses(Status::too_many_fds, good, request, {bench.accepted, 0, 0});
    bench.refuses(Status::truncated_data, good, std::string(handoff_message_max, 'x'),
                  {bench.accepted});
    bench.refuses(Status::not_a_socket, good, request, {0});
    bench.refuses(Status::not_for_workers, {.kind = HandoffKind::hello}, "", {});
    bench.refuses(Status::too_many_fds, good, request, {0, 0, 0, 0, 0, 0, 0, 0});
}
END_TEST

START_TEST(bytes_that_are_no_record_are_refused) {
    Bench bench;
    std::uint8_t header[handoff_header_size];
    encode_handoff(bench.record(), header);
    for (const auto& [size, at, expected] : {std::tuple{31u, 0u, Status::short_header},
                                             {1u, 0u, Status::short_header},
                                             {32u, 0u, Status::bad_magic},
                                             {32u, 4u, Status::bad_version}}) {
        std::vector<std::uint8_t> bytes(header, header + size);
        if (size == sizeof header) bytes[at] ^= 0x40;
        const int before = open_fds();
        bench.send_bytes(bytes, size == sizeof header ? request : "", {bench.accepted});
        fdworker::Handoff handoff;
        ck_assert_str_eq(text(bench.queue.receive(handoff)), text(expected));
        ck_assert_int_eq(open_fds(), before);
        bench.good_one_arrives();
    }
}
END_TEST

START_TEST(credentials_before_the_fds_do_not_matter) {
    Bench bench;
    const int on = 1;
    setsockopt(bench.queue.fd(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
    bench.good_one_arrives();
}
END_TEST

START_TEST(taken_is_said_once_and_only_if_wanted) {
    Bench bench;
    fdworker::Ticket wanted{.id = 9, .wants_taken = true}, unwanted{.id = 8};
    bench.queue.hello();
    bench.queue.taken(unwanted);
    bench.queue.taken(wanted);
    bench.queue.taken(wanted);
    ReceivedMessage message;
    ck_assert(bench.told(message).kind == HandoffKind::hello);
    const HandoffRecord taken = bench.told(message);
    ck_assert(taken.kind == HandoffKind::taken && taken.id == 9);
    ck_assert(bench.told_nothing());
}
END_TEST

// The request with these fields, as the worker sees it.
fdworker::Handoff with_fields(Bench& bench, std::span<const std::uint8_t> fields,
                              Status expected = Status::ok) {
    HandoffRecord record = bench.record();
    record.fields_length = std::uint32_t(fields.size());
    std::uint8_t header[handoff_header_size];
    encode_handoff(record, header);
    const auto* data = reinterpret_cast<const std::uint8_t*>(request.data());
    const int fds[] = {bench.accepted};
    ck_assert(send_message(bench.server, header, {data, request.size()}, fds, fields) ==
              PassingError::none);
    fdworker::Handoff handoff;
    ck_assert(bench.queue.receive(handoff) == expected);
    return handoff;
}

START_TEST(what_the_server_knows_of_the_client_is_in_the_fields) {
    Bench bench;
    FieldWriter fields;
    fields.add(HandoffField::client_address, "2001:db8::7");
    fields.add(HandoffField::client_port, 54321, 2);
    fields.add(HandoffField(4711), "of a newer server");
    fields.add(HandoffField::scheme, "https");
    fields.add(HandoffField::user, "jos\xc3\xa9");
    fields.add(HandoffField::body_limit, 5ull << 32, 8);
    const fdworker::Handoff handoff = with_fields(bench, fields.fields());
    ck_assert(handoff.data == request);
    ck_assert(handoff.peer.address == "2001:db8::7" && handoff.peer.port == 54321);
    ck_assert(handoff.peer.scheme == "https" && handoff.peer.user == "jos\xc3\xa9");
    ck_assert(handoff.peer.body_limit == 5ull << 32);
}
END_TEST

START_TEST(fields_may_be_absent_empty_long_or_there_twice) {
    Bench bench;
    const fdworker::Peer none = with_fields(bench, {}).peer;
    ck_assert(none.address.empty() && none.port == 0 && none.scheme.empty() && none.user.empty());
    ck_assert_uint_eq(none.body_limit, 0);
    FieldWriter fields;
    fields.add(HandoffField::client_address, "192.0.2.1");
    fields.add(HandoffField::client_address, "");
    fields.add(HandoffField::client_port, "");          // no number
    fields.add(HandoffField::body_limit, "123456789");  // longer than one may be
    const std::string user(handoff_fields_max - fields.fields().size() - 4, 'u');
    ck_assert(fields.add(HandoffField::user, user));
    ck_assert_uint_eq(fields.fields().size(), handoff_fields_max);
    const fdworker::Peer peer = with_fields(bench, fields.fields()).peer;
    ck_assert(peer.address.empty() && peer.port == 0 && peer.user == user);
    ck_assert_uint_eq(peer.body_limit, 0);
    const std::uint8_t cut[] = {1, 0, 9, 0, 'x'};
    with_fields(bench, cut, Status::bad_fields);
    bench.good_one_arrives();
}
END_TEST

START_TEST(done_is_said_once_and_only_by_those_who_said_that_they_would) {
    for (const Reports reports : {Reports::none, Reports::done}) {
        Bench bench(Delivery::single, reports);
        bench.queue.hello();
        ReceivedMessage message;
        ck_assert_int_eq(bench.told(message).says_done(), reports == Reports::done);
        HandoffRecord record = bench.record();
        record.flags = handoff_wants_taken;
        bench.send(record, request, {bench.accepted});
        fdworker::Handoff handoff;
        ck_assert(bench.queue.receive(handoff) == Status::ok);
        bench.queue.taken(handoff.ticket);
        bench.queue.done(handoff.ticket, {200, 5});
        bench.queue.done(handoff.ticket, {200, 5});
        bench.queue.taken(handoff.ticket);
        ck_assert(bench.told(message).kind == HandoffKind::taken);
        if (reports == Reports::done) ck_assert(bench.told(message).kind == HandoffKind::done);
        ck_assert(bench.told_nothing());
    }
}
END_TEST

START_TEST(with_batches_what_answers_ended_with_goes_out_together) {
    Bench bench(Delivery::batches, Reports::done);
    for (std::uint64_t id = 1; id <= handoff_batch_max; ++id) {
        ck_assert(bench.told_nothing());
        fdworker::Ticket ticket{.id = id, .wants_taken = true, .wants_done = true};
        bench.queue.done(ticket, {id == 1 ? 0 : int(100 + id), id << 33});
    }
    std::uint8_t buffer[handoff_message_max];
    ReceivedMessage message;
    ck_assert(receive_message(bench.server, buffer, message) == PassingError::none);
    HandoffReader reader({buffer, message.size}, 0);
    for (std::uint64_t id = 1; id <= handoff_batch_max; ++id) {
        HandoffRecord record;
        ck_assert(reader.next(record) == HandoffError::none);
        ck_assert(record.kind == HandoffKind::done && record.id == id);
        FieldReader fields(reader.fields());
        if (id > 1) {  // whose status is not known
            ck_assert_uint_eq(*fields.next()->number(), 100 + id);
            ck_assert_uint_eq(*fields.next()->number(), id << 33);
        }
        ck_assert(fields.at_end());
    }
    ck_assert(reader.done() && bench.told_nothing());
}
END_TEST

START_TEST(of_a_request_that_is_refused_the_server_is_told) {
    Bench bench(Delivery::single, _i ? Reports::done : Reports::none);
    const HandoffKind expected = _i ? HandoffKind::done : HandoffKind::taken;
    HandoffRecord record = bench.record();
    record.flags = handoff_wants_taken;
    bench.refuses(Status::not_a_socket, record, request, {bench.server});
    ReceivedMessage message;
    HandoffRecord told = bench.told(message);
    ck_assert(told.kind == expected && told.id == record.id);
    const int memfd = memfd_create("empty", MFD_CLOEXEC);
    record.flags |= handoff_in_memfd;
    bench.refuses(Status::short_memfd, record, "", {bench.accepted, memfd});
    told = bench.told(message);
    ck_assert(told.kind == expected && told.id == record.id);
    ck_assert(bench.told_nothing());
    close(memfd);
}
END_TEST

START_TEST(what_was_received_and_not_looked_at_goes_back) {
    Bench bench;
    {
        int ends[2];
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
        close(bench.server);
        bench.server = ends[0];
        fdworker::Queue queue(fdworker::Socket(ends[1]), Delivery::batches);
        bench.send_together({7, 8, 9}, handoff_wants_taken);
        fdworker::Handoff handoff;
        ck_assert(queue.receive(handoff) == Status::ok);
    }
    for (const std::uint64_t id : {8u, 9u}) {
        ReceivedMessage message;
        const HandoffRecord told = bench.told(message);
        ck_assert(told.kind == HandoffKind::return_socket && !told.ends_connection());
        ck_assert_uint_eq(told.id, id);
        ck_assert_uint_eq(told.data_length, request.size());
    }
    ck_assert_uint_eq(bench.take_all(), 0);
}
END_TEST

START_TEST(a_note_without_room_goes_out_later) {
    Bench bench;
    for (int id = 1; id <= 1000; ++id) {
        fdworker::Ticket ticket{.id = std::uint64_t(id), .wants_taken = true};
        bench.queue.taken(ticket);
    }
    std::uint64_t last = 0;
    while (last < 1000) {
        ReceivedMessage message;
        for (const HandoffRecord& note : bench.told_together(message))
            ck_assert_uint_eq(note.id, ++last);
        bench.queue.flush();
    }
    ck_assert(bench.told_nothing());
}
END_TEST

START_TEST(what_comes_together_is_claimed_at_once_and_received_one_by_one) {
    Bench bench(Delivery::batches);
    const int before = open_fds();
    bench.send_together({7, 8, 9});
    for (const std::uint64_t id : {7u, 8u, 9u}) {
        fdworker::Handoff handoff;
        ck_assert(bench.queue.receive(handoff) == Status::ok);
        ck_assert_uint_eq(handoff.ticket.id, id);
        ck_assert(handoff.data == request);
        ck_assert_int_eq(send(handoff.client.fd(), &id, 1, 0), 1);
        ck_assert_int_eq(fcntl(bench.accepted, F_GETOWN), getpid());
        ck_assert_int_eq(bench.queue.has_more(), id < 9);
    }
    ck_assert_int_eq(open_fds(), before);
    bench.good_one_arrives();
}
END_TEST

START_TEST(a_bad_record_among_others_costs_only_itself) {
    Bench bench(Delivery::batches);
    const int before = open_fds();
    bench.send_together({7, 0, 9});
    fdworker::Handoff handoff;
    ck_assert(bench.queue.receive(handoff) == Status::ok);
    ck_assert(bench.queue.receive(handoff) == Status::not_for_workers);
    ck_assert(bench.queue.receive(handoff) == Status::ok);
    ck_assert_uint_eq(handoff.ticket.id, 9);
    handoff.client.close();
    ck_assert_int_eq(open_fds(), before);
}
END_TEST

START_TEST(where_the_next_record_begins_is_lost_and_so_is_the_rest) {
    Bench bench(Delivery::batches);
    const int before = open_fds();
    bench.send(bench.record(), request + std::string(handoff_header_size, 'x'),
               {bench.accepted, bench.accepted, bench.accepted});
    fdworker::Handoff handoff;
    ck_assert(bench.queue.receive(handoff) == Status::ok);
    ck_assert(bench.queue.receive(handoff) == Status::bad_magic);
    ck_assert(!bench.queue.has_more());
    handoff.client.close();
    ck_assert_int_eq(open_fds(), before);
    bench.good_one_arrives();
}
END_TEST

START_TEST(sockets_that_find_no_descriptor_are_asked_for_again) {
    Bench bench(Delivery::batches);
    const int before = open_fds();
    bench.send_together({7, 8, 9}, handoff_wants_taken);
    fdworker::Handoff first, other;
    {
        const FewDescriptors few(1);
        ck_assert(bench.queue.receive(first) == Status::ok);
        ck_assert_uint_eq(first.ticket.id, 7);
        ck_assert(bench.queue.receive(other) == Status::truncated_fds);
        ck_assert(!bench.queue.has_more());
    }
    for (const std::uint64_t id : {8u, 9u}) {
        ReceivedMessage message;
        const HandoffRecord asked = bench.told(message);
        ck_assert(asked.kind == HandoffKind::return_socket && asked.without_socket());
        ck_assert_uint_eq(asked.id, id);
        ck_assert_uint_eq(asked.data_length, request.size());
    }
    first.client.close();
    ck_assert_int_eq(open_fds(), before);
}
END_TEST

START_TEST(a_request_whose_socket_found_no_descriptor_goes_back_with_its_data) {
    Bench bench(_i ? Delivery::batches : Delivery::single);
    HandoffRecord record = bench.record();
    fdworker::Handoff handoff;
    for (const bool kept : {true, false}) {
        record.flags = kept ? handoff_wants_taken : 0;
        bench.send(record, request, {bench.accepted});
        {
            const FewDescriptors few(0);
            ck_assert(bench.queue.receive(handoff) == Status::truncated_fds);
            ck_assert(bench.queue.receive(handoff) == Status::empty);
        }
        ck_assert_int_lt(handoff.client.fd(), 0);
        if (!kept) break;  // by the server: then all descriptors have gone
        std::uint8_t buffer[handoff_message_max];
        ReceivedMessage message;
        ck_assert(receive_message(bench.server, buffer, message) == PassingError::none);
        HandoffReader told({buffer, message.size}, message.fds.count());
        HandoffRecord asked;
        ck_assert(told.next(asked) == HandoffError::none);
        ck_assert(asked.kind == HandoffKind::return_socket && asked.without_socket());
        ck_assert_uint_eq(asked.id, record.id);
        ck_assert_uint_eq(asked.socket_index, record.socket_index);
        ck_assert(std::ranges::equal(told.data(), request));
    }
    ck_assert(bench.told_nothing());
    bench.good_one_arrives();
}
END_TEST

START_TEST(without_a_descriptor_for_the_memfd_the_request_is_lost_and_the_server_is_told) {
    Bench bench(_i ? Delivery::batches : Delivery::single);
    const int memfd = memfd_create("test", MFD_CLOEXEC);
    HandoffRecord record = bench.record();
    record.flags = handoff_in_memfd | handoff_wants_taken;
    for (const int free : {0, 1}) {
        bench.send(record, "", {bench.accepted, memfd});
        fdworker::Handoff handoff;
        {
            const FewDescriptors few(free);
            ck_assert(bench.queue.receive(handoff) == Status::truncated_fds);
        }
        ck_assert_int_eq(handoff.client.fd() >= 0, free);
        bench.queue.taken(handoff.ticket);  // as after any answer
        bench.queue.flush();
        ReceivedMessage message;
        const HandoffRecord told = bench.told(message);
        ck_assert(told.kind == HandoffKind::taken && told.id == record.id);
        ck_assert(bench.told_nothing());
    }
    close(memfd);
}
END_TEST

// Leaves no room for anything the worker has to tell.
void fill(const fdworker::Queue& queue) {
    const std::uint8_t byte[] = {0};
    while (send_message(queue.fd(), byte, {}, {}) == PassingError::none) {
    }
}

START_TEST(what_could_not_be_asked_for_again_is_asked_for_later) {
    Bench bench(_i ? Delivery::batches : Delivery::single);
    fill(bench.queue);
    bench.send_together({7, 8, 9}, handoff_wants_taken);
    fdworker::Handoff first, other;
    {
        const FewDescriptors few(1);
        ck_assert(bench.queue.receive(first) == Status::ok);
        ck_assert(bench.queue.receive(other) == Status::truncated_fds);
        ck_assert(!bench.queue.has_more());
    }
    bench.queue.taken(first.ticket);
    ck_assert(bench.queue.has_unsent());
    bench.take_all();
    bench.queue.flush();
    ck_assert(!bench.queue.has_unsent());
    for (const std::uint64_t id : {8u, 9u, 7u}) {
        ReceivedMessage message;
        const HandoffRecord told = bench.told(message);
        ck_assert_uint_eq(told.id, id);
        ck_assert_int_eq(told.without_socket(), id != 7);
        ck_assert_uint_eq(told.data_length, id == 7 ? 0 : request.size());
    }
    ck_assert(bench.told_nothing());
}
END_TEST

START_TEST(what_is_to_be_asked_for_again_is_kept_within_limits) {
    Bench bench;
    fill(bench.queue);
    constexpr std::size_t size = 30000;  // bytes
    HandoffRecord record = bench.record();
    record.flags = handoff_wants_taken;
    record.data_length = size;
    std::uint8_t header[handoff_header_size];
    encode_handoff(record, header);
    const std::string one = std::string(reinterpret_cast<const char*>(header), sizeof header) +
                            request + std::string(size - request.size(), 'x');
    for (int i = 0; i < 50; ++i) {
        bench.send_bytes({}, one + one, {bench.accepted, bench.accepted});
        const FewDescriptors few(1);
        fdworker::Handoff first, other;
        ck_assert(bench.queue.receive(first) == Status::ok);
        ck_assert(bench.queue.receive(other) == Status::truncated_fds);
    }
    bench.take_all();
    std::size_t told = 0;
    do {
        bench.queue.flush();
        told += bench.take_all();
    } while (bench.queue.has_unsent());
    ck_assert_uint_eq(told, 16 * handoff_inline_max / size);
}
END_TEST

START_TEST(word_goes_out_at_the_end) {
    Bench bench(Delivery::batches);
    {
        int ends[2];
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
        close(bench.server);
        bench.server = ends[0];
        fdworker::Queue queue(fdworker::Socket(ends[1]), Delivery::batches);
        fdworker::Ticket ticket{.id = 9, .queue = 1, .wants_taken = true};
        ck_assert(queue.return_socket(ticket, bench.accepted) == Status::ok);
        ck_assert(bench.told_nothing());
    }
    ReceivedMessage message;
    ck_assert_uint_eq(bench.told(message).id, 9);
}
END_TEST

START_TEST(a_worker_that_ends_closes_what_it_has_not_looked_at) {
    const int before = open_fds();
    {
        Bench bench(Delivery::batches);
        bench.send_together({7, 8, 9});
        fdworker::Handoff handoff;
        ck_assert(bench.queue.receive(handoff) == Status::ok);
    }
    ck_assert_int_eq(open_fds(), before);
}
END_TEST

START_TEST(with_batches_word_goes_out_together_at_the_flush) {
    Bench bench(Delivery::batches);
    ReceivedMessage message;
    bench.queue.hello();
    ck_assert(bench.told(message).takes_batches());
    for (std::uint64_t id = 1; id <= handoff_batch_max + 2; ++id) {
        fdworker::Ticket ticket{.id = id, .socket_index = 3, .queue = 1, .wants_taken = true};
        if (id % 2)
            bench.queue.taken(ticket);
        else
            ck_assert(bench.queue.return_socket(ticket, bench.accepted) == Status::ok);
        ck_assert(!ticket.wants_taken);
    }
    // So many go out by themselves.
    ck_assert_uint_eq(bench.told_together(message).size(), handoff_batch_max);
    ck_assert(bench.told_nothing());
    bench.queue.flush();
    const auto rest = bench.told_together(message);
    ck_assert_uint_eq(rest.size(), 2);
    ck_assert(rest[0].kind == HandoffKind::taken && rest[0].id == handoff_batch_max + 1);
    ck_assert(rest[1].kind == HandoffKind::return_socket && rest[1].without_socket());
    ck_assert_uint_eq(rest[1].socket_index, 3);
    bench.queue.flush();
    ck_assert(bench.told_nothing());
}
END_TEST

START_TEST(a_socket_is_returned_with_its_unread_bytes) {
    Bench bench;
    fdworker::Ticket ticket{.id = 9, .socket_index = 3, .queue = 1, .wants_taken = true};
    for (const std::size_t size : {0u, 5u, 65536u, 65537u, 300000u}) {
        const std::string unread(size, 'x');
        ck_assert(bench.queue.return_socket(ticket, bench.accepted, unread) == Status::ok);
        ReceivedMessage message;
        const HandoffRecord record = bench.told(message);
        ck_assert(record.kind == HandoffKind::return_socket);
        ck_assert_uint_eq(record.id, 9);
        ck_assert_uint_eq(record.socket_index, 3);
        ck_assert_uint_eq(record.data_length, size);
        ck_assert_int_eq(record.in_memfd(), size > handoff_inline_max);
        ck_assert_int_eq(record.without_socket(), size == 0);  // and with that the server was told
        ck_assert(!ticket.wants_taken);
    }
}
END_TEST

START_TEST(a_full_queue_returns_nothing_and_keeps_the_ticket) {
    Bench bench(_i ? Delivery::batches : Delivery::single);
    fdworker::Ticket ticket{.id = 9, .socket_index = 3, .queue = 1, .wants_taken = true};
    Status status = Status::ok;
    for (int i = 0; i < 100000 && status == Status::ok; ++i) {
        ticket.wants_taken = true;
        status = bench.queue.return_socket(ticket, bench.accepted);
    }
    ck_assert(status == Status::empty);
    ck_assert(ticket.wants_taken);
    bench.queue.taken(ticket);  // has no room either: dropped
}
END_TEST

START_TEST(the_end_of_the_queue_means_drain) {
    Bench bench;
    bench.send(bench.record(), request, {bench.accepted});
    close(bench.server);
    bench.server = dup(0);
    fdworker::Handoff handoff;
    ck_assert(bench.queue.receive(handoff) == Status::ok);
    ck_assert(bench.queue.receive(handoff) == Status::drained);
}
END_TEST

}  // namespace

int main() {
    Suite* suite = suite_create("worker queue");
    TCase* tests = tcase_create("queue");
    tcase_add_test(tests, a_request_becomes_a_handoff_and_is_claimed);
    tcase_add_test(tests, a_large_request_comes_in_a_memfd);
    tcase_add_test(tests, bad_records_are_refused_and_the_queue_goes_on);
    tcase_add_test(tests, bytes_that_are_no_record_are_refused);
    tcase_add_test(tests, credentials_before_the_fds_do_not_matter);
    tcase_add_test(tests, taken_is_said_once_and_only_if_wanted);
    tcase_add_test(tests, what_the_server_knows_of_the_client_is_in_the_fields);
    tcase_add_test(tests, fields_may_be_absent_empty_long_or_there_twice);
    tcase_add_test(tests, done_is_said_once_and_only_by_those_who_said_that_they_would);
    tcase_add_test(tests, with_batches_what_answers_ended_with_goes_out_together);
    tcase_add_loop_test(tests, of_a_request_that_is_refused_the_server_is_told, 0, 2);
    tcase_add_test(tests, what_was_received_and_not_looked_at_goes_back);
    tcase_add_test(tests, a_note_without_room_goes_out_later);
    tcase_add_test(tests, what_comes_together_is_claimed_at_once_and_received_one_by_one);
    tcase_add_test(tests, a_bad_record_among_others_costs_only_itself);
    tcase_add_test(tests, where_the_next_record_begins_is_lost_and_so_is_the_rest);
    tcase_add_test(tests, sockets_that_find_no_descriptor_are_asked_for_again);
    tcase_add_loop_test(tests, a_request_whose_socket_found_no_descriptor_goes_back_with_its_data,
                        0, 2);
    tcase_add_loop_test(
        tests, without_a_descriptor_for_the_memfd_the_request_is_lost_and_the_server_is_told, 0, 2);
    tcase_add_loop_test(tests, what_could_not_be_asked_for_again_is_asked_for_later, 0, 2);
    tcase_add_test(tests, what_is_to_be_asked_for_again_is_kept_within_limits);
    tcase_add_test(tests, word_goes_out_at_the_end);
    tcase_add_test(tests, a_worker_that_ends_closes_what_it_has_not_looked_at);
    tcase_add_test(tests, with_batches_word_goes_out_together_at_the_flush);
    tcase_add_test(tests, a_socket_is_returned_with_its_unread_bytes);
    tcase_add_loop_test(tests, a_full_queue_returns_nothing_and_keeps_the_ticket, 0, 2);
    tcase_add_test(tests, the_end_of_the_queue_means_drain);
    suite_add_tcase(suite, tests);
    SRunner* runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
