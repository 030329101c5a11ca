// SPDX-License-Identifier: BSD-3-Clause
// Invariant: any bytes inflate to the same output and the same end whole and byte by byte, except
// that a stream which looks back beyond a window smaller than 2^15 may be refused where it does so;
// what is compressed inflates to itself; and all memory is given back.
#include <algorithm>

#include "t/fuzz/events.h"
#include "ws/deflate.h"

using Status = ws::DeflateProgress::Status;

constexpr std::string_view done = "done";
constexpr std::string_view bad_data = "bad data";

static long live = 0;

static ws::Allocator counting() {
    return {[](void*, size_t size) {
                live++;
                return malloc(size);
            },
            [](void*, void* memory) {
                live--;
                free(memory);
            },
            nullptr};
}

// Runs one direction to its end, or to 64 KiB of output.
template <class Direction>
static std::string run(std::span<const uint8_t> data, size_t piece, size_t out_size,
                       Direction step) {
    std::string output;
    const auto out = std::make_unique<uint8_t[]>(out_size);
    do {
        std::span<const uint8_t> input = data.first(std::min(piece, data.size()));
        const bool last = input.size() == data.size();
        data = data.subspan(input.size());
        for (;;) {
            const auto [status, produced] = step(input, last, std::span(out.get(), out_size));
            output += fuzz::text_of({out.get(), produced});
            if (output.size() > 65536) return output.substr(0, 65536);
            if (status == Status::need_output) continue;
            if (status == Status::need_input && !last) break;
            fuzz::require(status == Status::done || status == Status::bad_data);
            fuzz::require(status == Status::bad_data || input.empty());
            return output.append(status == Status::done ? done : bad_data);
        }
    } while (true);
}

// Whether `result` is `expected`, or ends as bad data on the way there.
static bool is_or_falls_short_of(const std::string& expected, std::string result) {
    if (result == expected) return true;
    if (!result.ends_with(bad_data)) return false;
    result.resize(result.size() - bad_data.size());
    return expected.starts_with(result);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 2) return 0;
    {
        ws::DeflatePool pool({.level = 1 + data[0] % 9}, counting());
        const uint8_t bits = 8 + data[1] % 8;
        const ws::DeflateParameters agreed = {bool(data[0] & 32), bool(data[0] & 64), bits, bits};
        const std::span<const uint8_t> bytes(data + 2, size - 2);
        const auto inflate_with = [&](const auto& parameters, size_t piece, size_t space) {
            ws::PerMessageDeflate deflate(ws::Role::server, parameters, pool);
            return run(bytes, piece, space, [&](auto& input, bool last, auto out) {
                return deflate.inflate(input, last, out);
            });
        };
        const ws::DeflateParameters widest = {agreed.server_no_context_takeover,
                                              agreed.client_no_context_takeover, 15, 15};
        const std::string whole = inflate_with(widest, SIZE_MAX, 4096);
        fuzz::require(inflate_with(widest, 1, 1) == whole);
        const std::string narrow = inflate_with(agreed, SIZE_MAX, 4096);
        fuzz::require(is_or_falls_short_of(whole, narrow));
        fuzz::require(is_or_falls_short_of(narrow, inflate_with(agreed, 1, 1)));

        ws::PerMessageDeflate sender(ws::Role::server, agreed, pool);
        ws::PerMessageDeflate receiver(ws::Role::client, agreed, pool);
        for (int message = 0; message < 2; message++) {
            const auto compress = [&](auto& input, bool last, auto out) {
                return sender.compress(input, last, out);
            };
            const auto inflate = [&](auto& input, bool last, auto out) {
                return receiver.inflate(input, last, out);
            };
            std::string wire = run(bytes, 1 + data[1], 16 + data[0], compress);
            if (wire.size() >= 65536) break;
            wire.resize(wire.size() - done.size());
            const std::span<const uint8_t> sent(reinterpret_cast<const uint8_t*>(wire.data()),
                                                wire.size());
            fuzz::require(run(sent, 1 + data[0], 1 + data[1], inflate) ==
                          fuzz::text_of(bytes).append(done));
        }
    }
    fuzz::require(live == 0);
    return 0;
}
