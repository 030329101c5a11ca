// SPDX-License-Identifier: BSD-3-Clause
// permessage-deflate through two connections: every window, with and without takeover, in outputs
// of every size; memory that fails at every allocation; the pool.
#include "suite.h"
#include "ws/connection.h"
#include "ws/deflate.h"

using ws::Connection;
using ws::DeflateParameters;
using ws::DeflatePool;
using ws::EventType;
using ws::Opcode;
using ws::PerMessageDeflate;
using ws::Role;
using ws::SendStatus;

// Counts what is allocated, and fails the allocation with number `fail_at`.
struct Memory {
    long allocations = 0;
    long live = 0;
    long fail_at = -1;

    ws::Allocator allocator() {
        return {[](void* context, size_t size) -> void* {
                    auto* memory = static_cast<Memory*>(context);
                    if (memory->allocations++ == memory->fail_at) return nullptr;
                    memory->live++;
                    return malloc(size);
                },
                [](void* context, void* block) {
                    static_cast<Memory*>(context)->live--;
                    free(block);
                },
                this};
    }
};

// A client and a server, and the wire between them.
struct Pair {
    explicit Pair(const DeflateParameters& agreed, const ws::DeflatePoolOptions& options = {},
                  ws::Allocator allocator = ws::system_allocator())
        : pool(options, allocator),
          client_deflate(Role::client, agreed, pool),
          server_deflate(Role::server, agreed, pool),
          client(Role::client, {}, &client_deflate, test_mask_key),
          server(Role::server, {}, &server_deflate) {}

    // Sends and returns the wire, or nothing if there was no compressor.
    static Bytes send(Connection& from, std::span<const uint8_t> message, size_t out_size,
                      size_t part = SIZE_MAX) {
        Bytes wire, out(out_size);
        for (size_t at = 0;;) {
            const size_t size = std::min(part, message.size() - at);
            auto input = message.subspan(at, size);
            at += size;
            ws::Sent sent;
            do {
                sent = from.send_compressed(Opcode::binary, input, at == message.size(), out);
                wire.insert(wire.end(), sent.bytes.begin(), sent.bytes.end());
            } while (sent.status == SendStatus::need_output);
            if (sent.status == SendStatus::no_memory) return {};
            ck_assert(sent.status == SendStatus::ok);
            ck_assert(input.empty());
            if (at == message.size()) return wire;
        }
    }

    // What arrives, in inflate spaces of that size. An error ends it.
    static Bytes receive(Connection& to, Bytes wire, size_t space_size, uint16_t* error = nullptr) {
        Bytes message, space(space_size);
        std::span<uint8_t> input = wire;
        for (;;) {
            const auto event = to.receive(input, space);
            if (event.type == EventType::error && error) {
                *error = event.code;
                return message;
            }
            ck_assert_msg(event.type == EventType::message, "%.*s", int(event.reason.size()),
                          event.reason.data());
            message.insert(message.end(), event.payload.begin(), event.payload.end());
            if (event.last) return message;
        }
    }

    DeflatePool pool;
    PerMessageDeflate client_deflate, server_deflate;
    Connection client, server;
};

// Text that compresses, with repetitions near and far.
static Bytes sample(size_t size, uint32_t seed) {
    Random random(seed);
    Bytes bytes(size);
    for (size_t i = 0; i < size; i++) {
        const size_t back = 1 + random.below(40000);
        bytes[i] = i > back && random.below(20) ? bytes[i - back] : uint8_t('a' + random.below(26));
        for (uint32_t run = random.below(30); run > 0 && i + 1 < size && i > back; run--, i++)
            bytes[i + 1] = bytes[i + 1 - back];
    }
    return bytes;
}

START_TEST(messages_of_all_sizes_come_through_all_parameters) {
    for (int takeover = 0; takeover < 4; takeover++)
        for (uint8_t bits = 8; bits <= 15; bits++) {
            Pair pair({bool(takeover & 1), bool(takeover & 2), bits, uint8_t(23 - bits)});
            for (const size_t size : {0, 1, 0, 0, 5, 300, 5000, 0, 100000, 20}) {
                const Bytes message = sample(size, bits);
                ck_assert(Pair::receive(pair.server, Pair::send(pair.client, message, 4096),
                                        1000) == message);
                ck_assert(Pair::receive(pair.client, Pair::send(pair.server, message, 4096),
                                        1000) == message);
            }
        }
}
END_TEST

START_TEST(outputs_may_be_of_any_size) {
    Pair pair({});
    const Bytes message = sample(3000, 1);
    for (size_t size = Connection::min_compress_space; size < 400; size++)
        ck_assert(Pair::receive(pair.server, Pair::send(pair.client, message, size),
                                size % 50 + 1) == message);
    std::span<const uint8_t> input = message;
    Bytes small(Connection::min_compress_space - 1);
    ck_assert(pair.client.send_compressed(Opcode::text, input, true, small).status ==
              SendStatus::no_space);
}
END_TEST

START_TEST(a_message_may_be_compressed_in_parts) {
    Pair pair({});
    const Bytes message = sample(20000, 2);
    for (const size_t part : {1, 7, 1000, 19999})
        ck_assert(Pair::receive(pair.server, Pair::send(pair.client, message, 100, part), 64) ==
                  message);
}
END_TEST

START_TEST(what_does_not_compress_comes_through) {
    Pair pair({});
    Random random(3);
    Bytes noise(100000);
    for (auto& byte : noise) byte = uint8_t(random());
    ck_assert(Pair::receive(pair.server, Pair::send(pair.client, noise, 1000), 1000) == noise);
}
END_TEST

START_TEST(context_takeover_makes_repetitions_small) {
    const Bytes message = sample(1000, 4);
    Pair keeping({}), forgetting({true, true, 15, 15});
    const size_t first = Pair::send(keeping.client, message, 4096).size();
    ck_assert_uint_lt(Pair::send(keeping.client, message, 4096).size(), first / 5);
    ck_assert_uint_eq(Pair::send(forgetting.client, message, 4096).size(), first);
    ck_assert_uint_eq(Pair::send(forgetting.client, message, 4096).size(), first);
}
END_TEST

// The peer's window is as small as agreed: an inflater with just that window, fed without the help
// of the output before it, must understand.
START_TEST(a_compressor_looks_back_no_further_than_the_window) {
    for (uint8_t bits = 8; bits <= 15; bits++) {
        Pair pair({false, false, bits, bits});
        const Bytes message = sample(200000, bits);
        ck_assert(Pair::receive(pair.client, Pair::send(pair.server, message, 4096), 1) == message);
    }
}
END_TEST

START_TEST(compressed_and_uncompressed_do_not_mix_in_a_message) {
    Pair pair({});
    const Bytes text = bytes_of("text");
    std::span<const uint8_t> input = text;
    Bytes out(100), buffer(Connection::headroom);
    ck_assert(pair.server.send_compressed(Opcode::text, input, false, out).status ==
              SendStatus::ok);
    const auto payload = std::span(buffer).subspan(Connection::headroom);
    ck_assert(pair.server.send(Opcode::text, payload).status == SendStatus::wrong_compression);
    Connection plain(Role::server);
    ck_assert(plain.send_compressed(Opcode::text, input, true, out).status ==
              SendStatus::not_negotiated);
}
END_TEST

START_TEST(idle_connections_without_takeover_hold_nothing) {
    Memory memory;
    {
        Pair pair({true, true, 15, 15}, {.max_idle = 0}, memory.allocator());
        const Bytes message = sample(1000, 5);
        for (int i = 0; i < 3; i++) {
            Pair::receive(pair.server, Pair::send(pair.client, message, 4096), 100);
            ck_assert_int_eq(memory.live, 0);
            ck_assert_uint_eq(pair.pool.compressors.count() + pair.pool.inflaters.count(), 0);
        }
    }
    ck_assert_int_eq(memory.live, 0);
}
END_TEST

START_TEST(nothing_is_allocated_per_message_once_the_pool_is_warm) {
    for (const bool takeover : {false, true}) {
        Memory memory;
        Pair pair({!takeover, !takeover, 15, 15}, {}, memory.allocator());
        const Bytes message = sample(50000, 6);
        Pair::receive(pair.server, Pair::send(pair.client, message, 4096), 100);
        const long warm = memory.allocations;
        for (int i = 0; i < 10; i++)
            Pair::receive(pair.server, Pair::send(pair.client, message, 4096), 100);
        ck_assert_int_eq(memory.allocations, warm);
    }
}
END_TEST

START_TEST(connections_share_one_compressor) {
    DeflatePool pool;
    const DeflateParameters agreed = {true, true, 15, 15};
    PerMessageDeflate first(Role::server, agreed, pool), second(Role::server, agreed, pool);
    Bytes out(1000);
    for (auto* deflate : {&first, &second, &first}) {
        const Bytes message = bytes_of("message");
        std::span<const uint8_t> input = message;
        deflate->compress(input, true, out);
        ck_assert_uint_eq(pool.compressors.count(), 1);
        ck_assert_uint_eq(pool.compressors.idle(), 1);
    }
}
END_TEST

START_TEST(the_pools_limit_holds) {
    DeflatePool pool({.max_compressors = 1});
    PerMessageDeflate first(Role::server, {}, pool), second(Role::server, {}, pool);
    Connection one(Role::server, {}, &first), two(Role::server, {}, &second);
    const Bytes message = bytes_of("message");
    std::span<const uint8_t> input = message;
    Bytes out(1000), buffer(Connection::headroom + 1);
    ck_assert(one.send_compressed(Opcode::text, input, true, out).status == SendStatus::ok);
    input = message;
    ck_assert(two.send_compressed(Opcode::text, input, true, out).status == SendStatus::no_memory);
    ck_assert_uint_eq(input.size(), message.size());
    // The message can go without compression.
    const auto payload = std::span(buffer).subspan(Connection::headroom);
    ck_assert(two.send(Opcode::binary, payload).status == SendStatus::ok);
}
END_TEST

START_TEST(an_idle_stream_of_another_window_makes_room) {
    DeflatePool pool({.max_inflaters = 1});
    auto* wide = pool.inflaters.borrow(15);
    ck_assert_ptr_null(pool.inflaters.borrow(9));
    pool.inflaters.give_back(wide);
    auto* narrow = pool.inflaters.borrow(9);
    ck_assert_ptr_nonnull(narrow);
    ck_assert_uint_eq(pool.inflaters.count(), 1);
    pool.inflaters.give_back(narrow);
}
END_TEST

// Fails each allocation in turn: sending says so and can do without, receiving ends in 1011.
START_TEST(memory_that_fails_at_every_allocation) {
    const Bytes message = sample(50000, 7);
    const Bytes wire = [&] {
        Pair pair({});
        return Pair::send(pair.client, message, 4096);
    }();
    long failed_sends = 0, failed_receives = 0;
    for (long n = 0;; n++) {
        Memory memory;
        memory.fail_at = n;
        bool clean;
        {
            Pair pair({}, {}, memory.allocator());
            const bool sent = !Pair::send(pair.server, message, 4096).empty();
            uint16_t error = 0;
            const Bytes received = Pair::receive(pair.server, wire, 1000, &error);
            ck_assert(error == 0 ? received == message : error == 1011);
            if (error) {
                uint8_t out[ws::max_control_frame];
                ck_assert_uint_gt(pair.server.take_pending(out), 4);
                ck_assert_uint_eq(out[2] << 8 | out[3], 1011);
            }
            clean = sent && !error;
            failed_sends += !sent;
            failed_receives += error != 0;
        }
        ck_assert_int_eq(memory.live, 0);
        if (clean) break;
    }
    ck_assert_int_ge(failed_sends, 5);     // the stream, zlib's state and its four tables
    ck_assert_int_ge(failed_receives, 3);  // the stream, zlib's state, the window
}
END_TEST

int main() {
    return run_suite(
        "deflate",
        {messages_of_all_sizes_come_through_all_parameters, outputs_may_be_of_any_size,
         a_message_may_be_compressed_in_parts, what_does_not_compress_comes_through,
         context_takeover_makes_repetitions_small,
         a_compressor_looks_back_no_further_than_the_window,
         compressed_and_uncompressed_do_not_mix_in_a_message,
         idle_connections_without_takeover_hold_nothing,
         nothing_is_allocated_per_message_once_the_pool_is_warm, connections_share_one_compressor,
         the_pools_limit_holds, an_idle_stream_of_another_window_makes_room,
         memory_that_fails_at_every_allocation});
}
