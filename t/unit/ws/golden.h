// SPDX-License-Identifier: BSD-3-Clause
// Golden logs: what a peer sends, and below it what the engine reports and replies, as text. The
// format is explained in golden/README.md. Each case is run for both roles, whole, byte by byte
// and cut in two at every place.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ws/connection.h"

namespace golden {

using Bytes = std::vector<uint8_t>;

/// One line of input: a frame that is built for the role, or raw bytes.
struct Input {
    bool raw = false;
    uint8_t opcode = 0;
    uint8_t rsv = 0;
    bool fin = true;
    bool wrong_mask = false;  // masked as the role under test must not accept
    bool deflated = false;    // payload compressed, RSV1 set
    uint8_t length_form = 0;  // 16 or 64: that form even if a shorter one would do
    std::optional<uint64_t> claimed_length;
    Bytes payload;

    /// The bytes as they arrive at an engine of that role.
    Bytes encode(ws::Role receiver) const;
};

/// Input, as it arrives at an engine of either role, and the log lines it must lead to before
/// anything else is sent.
struct Step {
    Bytes input[2];
    std::vector<std::string> expected;

    const Bytes& input_for(ws::Role role) const { return input[static_cast<int>(role)]; }
};

struct Case {
    std::string file;
    int line = 0;
    std::string name;
    std::vector<ws::Role> roles = {ws::Role::server, ws::Role::client};
    ws::Limits limits;
    bool deflate = false;
    std::vector<Step> steps;
};

/// Reads a file; ends the program with its name and line if it is malformed.
std::vector<Case> load(const std::string& path);

/// Runs `c` for `role`. `piece` says how the input is cut: a piece ends at each multiple of `every`
/// and at `once`, counted in bytes from the beginning of the case. Returns what differs from the
/// expected log, or an empty text.
struct Cut {
    size_t every = SIZE_MAX;
    size_t once = SIZE_MAX;
};
std::string run(const Case& c, ws::Role role, Cut cut);

/// Bytes of all the case's input.
size_t input_size(const Case& c, ws::Role role);

/// `bytes` in quotes, what is not printable as \xNN.
std::string quote(const Bytes& bytes);

}  // namespace golden
