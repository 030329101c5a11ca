// SPDX-License-Identifier: BSD-3-Clause
// Invariant: whatever arrives, whole, byte by byte or in any pieces, is the same events and the
// same replies; text is UTF-8; the limits hold; and the replies are accepted by the other role.
#include <algorithm>

#include "t/fuzz/events.h"
#include "ws/deflate.h"

static constexpr ws::Limits limits = {.max_message = 3000, .max_frame = 2000, .max_fragments = 50};

struct Outcome {
    std::string events;
    std::string replies;
    bool operator==(const Outcome&) const = default;
};

static Outcome run(std::span<const uint8_t> data, uint8_t settings, size_t piece, size_t space) {
    const auto role = settings & 1 ? ws::Role::client : ws::Role::server;
    static ws::DeflatePool pool;
    // Windows of 2^15 bytes: of smaller ones fuzz_inflate knows where they may differ.
    const ws::DeflateParameters agreed = {bool(settings & 4), bool(settings & 4), 15, 15};
    ws::PerMessageDeflate deflate(role, agreed, pool);
    ws::Connection connection(role, limits, settings & 2 ? &deflate : nullptr,
                              [] { return uint32_t{0x01020304}; });
    fuzz::EventLog events;
    Outcome outcome;
    fuzz::feed(connection, data, piece, space, events, outcome.replies);
    outcome.events = events.text;
    return outcome;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 2) return 0;
    const std::span<const uint8_t> bytes(data + 2, size - 2);
    const Outcome whole = run(bytes, data[0], SIZE_MAX, 4096);
    fuzz::require(run(bytes, data[0], 1, 1) == whole);
    fuzz::require(run(bytes, data[0], 1 + data[1], 1 + data[1]) == whole);

    ws::Connection peer(data[0] & 1 ? ws::Role::server : ws::Role::client);
    std::string replies = whole.replies;
    std::span<uint8_t> input(reinterpret_cast<uint8_t*>(replies.data()), replies.size());
    for (;;) {
        const auto event = peer.receive(input);
        if (event.type == ws::EventType::need_input || event.type == ws::EventType::closed) break;
        fuzz::require(event.type == ws::EventType::pong || event.type == ws::EventType::close);
    }
    fuzz::require(input.empty());
    return 0;
}
