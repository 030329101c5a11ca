// SPDX-License-Identifier: BSD-3-Clause
// Receiving messages, against libwslay's event layer. Both get the same bytes, in reads of the same
// sizes, each read a memcpy as from a socket.
#include <wslay/wslay.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "bench/engine/rounds.h"
#include "ws/connection.h"
#include "ws/mask.h"

namespace bench {
namespace {

using Bytes = std::vector<uint8_t>;

// `count` masked messages, as a client sends them.
Bytes client_messages(ws::Opcode opcode, size_t size, size_t count) {
    Bytes wire;
    for (size_t i = 0; i < count; i++) {
        ws::FrameHeader header;
        header.opcode = opcode;
        header.length = size;
        header.masked = true;
        header.mask_key = {uint8_t(i), 0x5A, 0xA5, uint8_t(i >> 8)};
        uint8_t bytes[ws::max_header_size];
        wire.insert(wire.end(), bytes, bytes + ws::write_header(header, bytes));
        Bytes payload(size, 'x');
        ws::apply_mask(payload, header.mask_key);
        wire.insert(wire.end(), payload.begin(), payload.end());
    }
    return wire;
}

// What both do with a stream of bytes: hand out up to `size` of the next.
struct Source {
    const Bytes& wire;
    size_t at = 0;

    size_t read(uint8_t* buffer, size_t size) {
        size = std::min(size, wire.size() - at);
        std::memcpy(buffer, wire.data() + at, size);
        at += size;
        return size;
    }
};

void run_ours(const Bytes& wire, size_t expected, size_t read_size) {
    static Bytes buffer(1 << 20);
    ws::Limits limits;
    ws::Connection connection(ws::Role::server, limits);
    Source source{wire};
    size_t messages = 0;
    while (const size_t size = source.read(buffer.data(), read_size)) {
        std::span<uint8_t> input(buffer.data(), size);
        for (;;) {
            const ws::Event event = connection.receive(input);
            if (event.type != ws::EventType::message) break;
            messages += event.last;
        }
    }
    if (messages != expected) abort();
}

struct WslayRun {
    Source source;
    size_t messages = 0;
};

ssize_t wslay_receive(wslay_event_context_ptr context, uint8_t* buffer, size_t size, int,
                      void* user) {
    const size_t taken = static_cast<WslayRun*>(user)->source.read(buffer, size);
    if (taken == 0) wslay_event_set_error(context, WSLAY_ERR_WOULDBLOCK);
    return taken == 0 ? -1 : ssize_t(taken);
}

void wslay_message(wslay_event_context_ptr, const wslay_event_on_msg_recv_arg*, void* user) {
    static_cast<WslayRun*>(user)->messages++;
}

void wslay_frame_end(wslay_event_context_ptr, void* user) {
    static_cast<WslayRun*>(user)->messages++;
}

void run_wslay(const Bytes& wire, size_t expected, bool buffering) {
    wslay_event_callbacks callbacks{};
    callbacks.recv_callback = wslay_receive;
    if (buffering)
        callbacks.on_msg_recv_callback = wslay_message;
    else
        callbacks.on_frame_recv_end_callback = wslay_frame_end;
    WslayRun run{{wire}};
    wslay_event_context_ptr context;
    if (wslay_event_context_server_init(&context, &callbacks, &run) != 0) abort();
    wslay_event_config_set_no_buffering(context, !buffering);
    wslay_event_config_set_max_recv_msg_length(context, 64 << 20);
    if (wslay_event_recv(context) != 0 || run.messages != expected) abort();
    wslay_event_context_free(context);
}

void receive(const char* title, ws::Opcode opcode, size_t size, size_t count, double amount,
             const char* unit, const std::vector<Figure>& required) {
    const Bytes wire = client_messages(opcode, size, count);
    compare(title, amount, unit,
            {{"ws::Connection, reads of 16 KiB", [&] { run_ours(wire, count, 16384); }},
             {"ws::Connection, reads of 4 KiB", [&] { run_ours(wire, count, 4096); }},
             {"libwslay", [&] { run_wslay(wire, count, true); }},
             {"libwslay, not buffering", [&] { run_wslay(wire, count, false); }}},
            required);
}

}  // namespace

void messages() {
    receive("receiving 16-byte text messages", ws::Opcode::text, 16, 10000, 10000 / 1e6,
            "million messages", {{"libwslay", 2}});
    receive("receiving 1 KiB text messages", ws::Opcode::text, 1024, 1000, 1000 / 1e6,
            "million messages", {});
    receive("receiving 1 MiB binary messages", ws::Opcode::binary, 1 << 20, 4, 4 * 1.048576, "MB",
            {{"libwslay", 3}, {"libwslay, not buffering", 3}});
}

}  // namespace bench
