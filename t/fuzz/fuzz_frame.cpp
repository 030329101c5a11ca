// SPDX-License-Identifier: BSD-3-Clause
// Invariant: frames read whole, byte by byte or in any pieces are the same frames or the same
// error; and a header that is accepted is, written again, the bytes it was read from.
#include <algorithm>
#include <cstring>

#include "t/fuzz/events.h"
#include "ws/frame.h"

using ws::FrameReader;

static std::string read_frames(std::span<const uint8_t> data, ws::Role role, size_t piece) {
    std::string log, consumed;
    FrameReader reader(role, true);
    while (!data.empty()) {
        const size_t size = std::min(piece, data.size());
        const auto copy = std::make_unique<uint8_t[]>(size);
        std::memcpy(copy.get(), data.data(), size);
        data = data.subspan(size);
        std::span<uint8_t> input(copy.get(), size);
        while (!input.empty()) {
            if (reader.remaining() > 0) {
                const auto payload = reader.peek(input);
                // Take in two steps: what was looked at and not taken must be unmasked once.
                const size_t first = payload.size() / 2;
                log += fuzz::text_of(payload.first(first));
                reader.take(input, first);
                const auto rest = reader.peek(input);
                log += fuzz::text_of(rest);
                reader.take(input, rest.size());
                continue;
            }
            const std::string before = fuzz::text_of(input);
            const auto step = reader.read_header(input);
            consumed += before.substr(0, before.size() - input.size());
            if (step == FrameReader::Step::error)
                return log + "error " + std::to_string(int(reader.error()));
            if (step == FrameReader::Step::need_input) continue;
            uint8_t again[ws::max_header_size];
            const size_t again_size = ws::write_header(reader.header(), again);
            fuzz::require(consumed == fuzz::text_of({again, again_size}));
            log += "frame " + consumed;
            consumed.clear();
        }
    }
    return log;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 2) return 0;
    const auto role = data[0] & 1 ? ws::Role::client : ws::Role::server;
    const std::span<const uint8_t> bytes(data + 2, size - 2);
    const std::string whole = read_frames(bytes, role, SIZE_MAX);
    fuzz::require(read_frames(bytes, role, 1) == whole);
    fuzz::require(read_frames(bytes, role, 1 + data[1]) == whole);
    return 0;
}
