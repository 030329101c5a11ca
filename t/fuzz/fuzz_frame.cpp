// SPDX-License-Identifier: BSD-3-Clause
// Invariant: frames read whole, byte by byte or in any pieces are the same frames or the same
// error; and a header that is accepted is, written again, the bytes it was read from.
#include <string>

#include "t/fuzz/events.h"
#include "ws/frame.h"

using ws::FrameReader;

// What a reader sees, as text. It stops at an error.
class FrameLog {
  public:
    explicit FrameLog(ws::Role role) : reader_(role, true) {}

    void feed(std::span<uint8_t> input) {
        while (!input.empty() && reader_.error() == ws::FrameError::none)
            if (reader_.remaining() > 0)
                read_payload(input);
            else
                read_header(input);
    }

    std::string text;

  private:
    // In two steps: what was looked at and not taken must be unmasked once.
    void read_payload(std::span<uint8_t>& input) {
        const auto payload = reader_.peek(input);
        const size_t first = payload.size() / 2;
        text += fuzz::text_of(payload.first(first));
        reader_.take(input, first);
        const auto rest = reader_.peek(input);
        text += fuzz::text_of(rest);
        reader_.take(input, rest.size());
    }

    void read_header(std::span<uint8_t>& input) {
        const auto before = input;
        const auto step = reader_.read_header(input);
        header_ += fuzz::text_of(before.first(before.size() - input.size()));
        if (step == FrameReader::Step::error)
            text += "error " + std::to_string(int(reader_.error()));
        if (step != FrameReader::Step::header) return;
        uint8_t again[ws::max_header_size];
        const size_t size = ws::write_header(reader_.header(), again);
        fuzz::require(header_ == fuzz::text_of({again, size}));
        text += "frame " + header_;
        header_.clear();
    }

    FrameReader reader_;
    std::string header_;  // its bytes so far
};

static std::string read_frames(std::span<const uint8_t> data, ws::Role role, size_t piece) {
    FrameLog log(role);
    fuzz::for_each_piece(data, piece, [&](std::span<uint8_t> input) { log.feed(input); });
    return log.text;
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
