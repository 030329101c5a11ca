// SPDX-License-Identifier: BSD-3-Clause
// Requests that go out together: what fits, what the worker gets, all or nothing.
#include "mod_fd_transfer/batch.h"

#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "suite.h"

using namespace fd_transfer;

namespace {

const std::string head = "GET / HTTP/1.1\r\n\r\n";

std::span<const uint8_t> bytes(const std::string& text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

process::HandoffRecord record(uint64_t id) {
    return {.id = id, .head_length = uint32_t(head.size())};
}

START_TEST(the_worker_gets_all_in_their_order) {
    const Channel channel = Channel::create(0);
    Batch batch;
    for (uint64_t id = 1; id <= 3; ++id)
        ck_assert(batch.add(record(id), bytes(head + std::string(id, 'b')), {}, int(id) - 1));
    ck_assert_uint_eq(batch.size(), 3);
    ck_assert(batch.send(channel) == process::PassingError::none);

    std::vector<uint8_t> buffer(process::handoff_message_max);
    process::ReceivedMessage message;
    ck_assert(process::receive_message(channel.workers_fd(), buffer, message) ==
              process::PassingError::none);
    ck_assert_uint_eq(message.fds.count(), 3);
    process::HandoffReader reader({buffer.data(), message.size}, message.fds.count());
    for (uint64_t id = 1; id <= 3; ++id) {
        process::HandoffRecord read;
        ck_assert(reader.next(read) == process::HandoffError::none);
        ck_assert_uint_eq(read.id, id);
        ck_assert_uint_eq(read.head_length, head.size());
        ck_assert_uint_eq(reader.data().size(), head.size() + id);
        ck_assert_uint_eq(reader.first_fd(), id - 1);
    }
    ck_assert(reader.done());
}
END_TEST

START_TEST(so_many_and_no_more) {
    const Channel channel = Channel::create(0);
    Batch batch;
    for (uint64_t id = 1; id <= process::handoff_batch_max; ++id)
        ck_assert(batch.add(record(id), bytes(head), {}, 0));
    ck_assert(!batch.add(record(99), bytes(head), {}, 0));
    ck_assert_uint_eq(batch.size(), process::handoff_batch_max);
    ck_assert(batch.send(channel) == process::PassingError::none);
}
END_TEST

START_TEST(what_is_too_long_for_the_message_stays_out) {
    const std::string half(process::handoff_message_max / 2 - process::handoff_header_size, 'x');
    for (const bool fits : {true, false}) {
        Batch batch;
        ck_assert(batch.add(record(1), bytes(half), {}, 0));
        ck_assert_int_eq(batch.add(record(2), bytes(fits ? half : half + "x"), {}, 0), fits);
        ck_assert_uint_eq(batch.size(), fits ? 2 : 1);
        const Channel channel = Channel::create(1 << 20);
        ck_assert(batch.send(channel) == process::PassingError::none);
        std::vector<uint8_t> buffer(process::handoff_message_max);
        process::ReceivedMessage message;
        ck_assert(process::receive_message(channel.workers_fd(), buffer, message) ==
                  process::PassingError::none);
        ck_assert_uint_eq(message.fds.count(), batch.size());
    }
}
END_TEST

START_TEST(all_go_or_none) {
    const Channel channel = Channel::create(0);
    Batch batch, empty;
    ck_assert(empty.send(channel) == process::PassingError::would_block);
    for (uint64_t id = 1; id <= 20; ++id) ck_assert(batch.add(record(id), bytes(head), {}, 0));
    int sent = 0;
    process::PassingError error;
    while ((error = batch.send(channel)) == process::PassingError::none) ++sent;
    ck_assert(error == process::PassingError::would_block);
    ck_assert_int_gt(sent, 0);
    std::vector<uint8_t> buffer(process::handoff_message_max);
    process::ReceivedMessage message;
    for (; sent > 0; --sent) {
        ck_assert(process::receive_message(channel.workers_fd(), buffer, message) ==
                  process::PassingError::none);
        ck_assert_uint_eq(message.fds.count(), 20);
    }
    ck_assert(process::receive_message(channel.workers_fd(), buffer, message) ==
              process::PassingError::would_block);
}
END_TEST

}  // namespace

int main() {
    return run_suite("batch", {the_worker_gets_all_in_their_order, so_many_and_no_more,
                               what_is_too_long_for_the_message_stays_out, all_go_or_none});
}
