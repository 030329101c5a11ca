// SPDX-License-Identifier: BSD-3-Clause
// Masking and UTF-8 validation against byte loops and memcpy.
#include "ws/kernels.h"

#include <cstdlib>
#include <cstring>

#include "bench/engine/plain_loops.h"
#include "bench/engine/rounds.h"
#include "ws/mask.h"
#include "ws/utf8.h"

namespace bench {
namespace {

constexpr double giga = 1e9;

void mask(size_t size, const char* title) {
    const ws::MaskKey key = {0x12, 0x34, 0x56, 0x78};
    std::vector<uint8_t> data(size, 'x'), other(size);
    std::vector<Contender> contenders = {
        {"apply_mask()", [&] { ws::apply_mask(data, key); }},
        {"byte loop, not vectorised", [&] { mask_bytes(data.data(), size, key.data()); }},
        {"memcpy",
         [&] {
             std::memcpy(other.data(), data.data(), size);
             asm volatile("" : : "r"(other.data()) : "memory");
         }},
    };
    for (const auto* kernels : ws::usable_kernels())
        contenders.push_back({std::string("kernel ") + kernels->name,
                              [&, kernels] { kernels->mask(data.data(), size, key); }});
    compare(title, double(size) / giga, "GB", contenders,
            {{"byte loop, not vectorised", 8}, {"memcpy", 0.8}});
}

// Characters in a random order, so that a byte loop's branches are as hard to guess as in real
// text.
void validate(const char* title, const std::vector<std::string>& characters) {
    std::string text;
    for (uint32_t random = 1; text.size() < 64 * 1024; random = random * 1664525 + 1013904223)
        text += characters[(random >> 8) % characters.size()];
    const std::span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(text.data()),
                                         text.size());
    const auto ours = [bytes] {
        if (!ws::valid_utf8(bytes)) abort();
    };
    std::vector<Contender> contenders = {{"valid_utf8()", ours},
                                         {"byte loop", [bytes] {
                                              if (!validate_bytes(bytes.data(), bytes.size()))
                                                  abort();
                                          }}};
    const auto& chosen = ws::kernels();
    for (const auto* kernels : ws::usable_kernels())
        contenders.push_back({std::string("kernels ") + kernels->name, [ours, kernels, &chosen] {
                                  ws::use_kernels(*kernels);
                                  ours();
                                  ws::use_kernels(chosen);
                              }});
    compare(title, double(text.size()) / giga, "GB", contenders, {{"byte loop", 8}});
}

}  // namespace

void kernels() {
    mask(64 * 1024, "masking, 64 KiB in place");
    mask(1024 * 1024, "masking, 1 MiB in place");
    validate("UTF-8, 64 KiB of ASCII", {"q", "u", "i", "c", "k", " ", "f", "o", "x"});
    validate("UTF-8, 64 KiB of characters of two bytes", {"α", "β", "γ", "δ", "ε", "ζ"});
    validate("UTF-8, 64 KiB of characters of three bytes", {"漢", "字", "仮", "名", "交"});
    validate(
        "UTF-8, 64 KiB of prose with some of every size",
        {"Bem", "ü", "h", "'", "n", " ", "€", " ", "𐍈", ",", " dann ", "漢", " und so weiter "});
}

}  // namespace bench
