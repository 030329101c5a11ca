// SPDX-License-Identifier: BSD-3-Clause
// What the tests of libfdworker's Intake share: a server's end of queues, and what it is told.
#pragma once

#include <fdworker.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <utility>

#include "process/fd_passing.h"
#include "process/handoff_fields.h"
#include "process/handoff_record.h"
#include "t/unit/suite.h"

using namespace process;
using fdworker::Handoff;
using fdworker::Intake;
using fdworker::Socket;
using fdworker::Status;

inline const std::string request = "GET /hot/ HTTP/1.1\r\nHost: a\r\n\r\n";

struct Pair {
    explicit Pair(int type) {
        int ends[2];
        ck_assert_int_eq(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends), 0);
        ours = Socket(ends[0]);
        theirs = Socket(ends[1]);
    }
    Socket ours, theirs;
};

// Hands a new connection over, with what was read from it; the client's end of it.
inline Socket hand_over(int server, const std::string& data = request) {
    Pair connection(SOCK_STREAM);
    const HandoffRecord record{.flags = handoff_wants_taken,
                               .id = 7,
                               .socket_index = 3,
                               .head_length = std::uint32_t(data.find("\r\n\r\n") + 4),
                               .data_length = std::uint32_t(data.size())};
    std::uint8_t header[handoff_header_size];
    encode_handoff(record, header);
    const int fd = connection.theirs.fd();
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(data.data());
    ck_assert(send_message(server, header, {bytes, data.size()}, {&fd, 1}) == PassingError::none);
    return std::move(connection.ours);
}

inline HandoffRecord told_record(int server) {
    std::uint8_t buffer[handoff_message_max];
    ReceivedMessage message;
    ck_assert(receive_message(server, buffer, message) == PassingError::none);
    HandoffRecord record;
    ck_assert(decode_handoff({buffer, message.size}, message.fds.count(), record) ==
              HandoffError::none);
    return record;
}

struct Told {
    HandoffRecord record;
    fdworker::Answer answer;
};

inline fdworker::Answer answer_in(std::span<const std::uint8_t> fields) {
    fdworker::Answer answer;
    FieldReader reader(fields);
    while (const auto field = reader.next()) {
        if (field->type == HandoffField::status) answer.status = int(*field->number());
        if (field->type == HandoffField::bytes) answer.bytes = *field->number();
    }
    return answer;
}

inline Told told_with_answer(int server) {
    std::uint8_t buffer[handoff_message_max];
    ReceivedMessage message;
    ck_assert(receive_message(server, buffer, message) == PassingError::none);
    HandoffReader reader({buffer, message.size}, message.fds.count());
    Told told;
    ck_assert(reader.next(told.record) == HandoffError::none);
    ck_assert(reader.done());
    told.answer = answer_in(reader.fields());
    return told;
}

// Takes all that was told: how many returns.
inline std::size_t told_returns(int server) {
    std::uint8_t buffer[handoff_message_max];
    ReceivedMessage message;
    std::size_t returns = 0;
    while (receive_message(server, buffer, message) == PassingError::none) {
        HandoffReader reader({buffer, message.size}, message.fds.count());
        HandoffRecord record;
        while (!reader.done() && reader.next(record) == HandoffError::none)
            returns += record.kind == HandoffKind::return_socket;
    }
    return returns;
}

inline HandoffKind told(int server) { return told_record(server).kind; }

inline bool readable(int fd, int timeout = 0) {  // milliseconds
    pollfd wait{fd, POLLIN, 0};
    return poll(&wait, 1, timeout) == 1;
}

inline sockaddr_un address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, path.c_str());
    return address;
}

inline Socket connect_to(const std::string& path, int type) {
    const sockaddr_un address = address_of(path);
    Socket server(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    ck_assert_int_eq(
        connect(server.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    return server;
}

inline std::string path_of(const char* name) {
    return "/tmp/fdworker-test-" + std::to_string(getpid()) + name;
}

// Takes all that was told: how many records.
inline std::size_t told_by_now(int server) {
    std::uint8_t buffer[handoff_message_max];
    ReceivedMessage message;
    std::size_t told = 0;
    while (receive_message(server, buffer, message) == PassingError::none)
        told += message.size / handoff_header_size;
    return told;
}

inline constexpr unsigned many_notes = 4000;  // with few in a message more than the queue holds

inline void take_many(Intake& intake, unsigned queue = 2) {  // source 1 is the signal
    for (unsigned id = 1; id <= many_notes; ++id) {
        fdworker::Ticket ticket{.id = id, .queue = queue, .wants_taken = true};
        intake.taken(ticket);
        if (id % 3 == 0) intake.flush();
    }
    intake.flush();
}

// Until the intake has nothing more to do: how many records it told.
inline std::size_t told_until_silence(Intake& intake, int server) {
    std::size_t told = told_by_now(server);
    for (int turns = 0; readable(intake.fd()); ++turns) {
        ck_assert_int_lt(turns, 100);
        Handoff handoff;
        ck_assert(intake.receive(handoff) == Status::empty);
        told += told_by_now(server);
    }
    return told;
}
