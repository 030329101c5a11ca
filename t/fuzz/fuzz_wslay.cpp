// SPDX-License-Identifier: BSD-3-Clause
// Invariant: libwslay, an independent implementation, sees the same messages and control frames in
// the same bytes, and answers with the same pongs and the same close code.
//
// Where the two differ by choice it is said below, and only that is passed over.
#include <wslay/wslay.h>

#include <algorithm>
#include <string>

#include "t/fuzz/events.h"

static constexpr uint64_t max_message = 4096;

struct Peer {
    std::span<const uint8_t> input;
    fuzz::EventLog events;
    std::string output;
    bool bad_close = false;  // wslay took a Close with half a code or a reason that is not UTF-8
};

static ssize_t on_receive(wslay_event_context_ptr context, uint8_t* buffer, size_t size, int,
                          void* user) {
    auto* peer = static_cast<Peer*>(user);
    size = std::min(size, peer->input.size());
    if (size == 0) {
        wslay_event_set_error(context, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    std::copy_n(peer->input.begin(), size, buffer);
    peer->input = peer->input.subspan(size);
    return ssize_t(size);
}

static ssize_t on_send(wslay_event_context_ptr, const uint8_t* data, size_t size, int, void* user) {
    static_cast<Peer*>(user)->output.append(reinterpret_cast<const char*>(data), size);
    return ssize_t(size);
}

static void on_message(wslay_event_context_ptr, const wslay_event_on_msg_recv_arg* arg,
                       void* user) {
    auto& log = static_cast<Peer*>(user)->events;
    const std::string payload = fuzz::text_of({arg->msg, arg->msg_length});
    switch (arg->opcode) {
        case WSLAY_TEXT_FRAME:
            log.line("text", payload);
            break;
        case WSLAY_BINARY_FRAME:
            log.line("binary", payload);
            break;
        case WSLAY_PING:
            log.line("ping", payload);
            break;
        case WSLAY_PONG:
            log.line("pong", payload);
            break;
        default:
            if (arg->msg_length == 1 ||
                (arg->msg_length > 2 && !ws::valid_utf8({arg->msg + 2, arg->msg_length - 2}))) {
                static_cast<Peer*>(user)->bad_close = true;
                return;
            }
            log.line("close " + std::to_string(payload.empty() ? 1005 : arg->status_code),
                     payload.size() > 2 ? payload.substr(2) : "");
    }
}

// The replies in `output`, as a client reads them.
static std::string read_replies(std::string output) {
    ws::Connection client(ws::Role::client);
    fuzz::EventLog log;
    std::span<uint8_t> input(reinterpret_cast<uint8_t*>(output.data()), output.size());
    for (;;) {
        auto event = client.receive(input);
        if (event.type == ws::EventType::need_input || event.type == ws::EventType::closed) break;
        event.reason = {};  // the reasons for people differ
        log.add(event);
    }
    return log.text;
}

static void run_wslay(Peer& peer, std::span<const uint8_t> bytes) {
    wslay_event_callbacks callbacks{};
    callbacks.recv_callback = on_receive;
    callbacks.send_callback = on_send;
    callbacks.on_msg_recv_callback = on_message;
    wslay_event_context_ptr context;
    fuzz::require(wslay_event_context_server_init(&context, &callbacks, &peer) == 0);
    wslay_event_config_set_max_recv_msg_length(context, max_message);
    // Byte by byte, because wslay forgets pongs that wait when it fails.
    for (const uint8_t& byte : bytes) {
        peer.input = {&byte, 1};
        wslay_event_recv(context);
        while (wslay_event_want_write(context) && wslay_event_send(context) == 0) continue;
    }
    wslay_event_context_free(context);
}

// wslay refuses 1012 to 1014, which were registered after it was written, before it looks at the
// reason.
static bool knows_fewer_codes(const fuzz::EventLog& ours) {
    if (ours.failed) return ours.end_reason.starts_with("reason of a Close");
    return ours.end >= 1012 && ours.end <= 1014;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    // wslay looks at a header when all of it is there, we at each byte: so that it is there,
    // always.
    std::string padded(reinterpret_cast<const char*>(data), size);
    padded.append(ws::max_header_size, '\0');
    const std::span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(padded.data()),
                                         padded.size());
    fuzz::EventLog events;
    std::string replies;
    ws::Connection ours(ws::Role::server, {.max_message = max_message});
    fuzz::feed(ours, bytes, SIZE_MAX, 0, events, replies);

    Peer peer;
    run_wslay(peer, bytes);

    const std::string before_end = events.text.substr(0, events.before_end);
    fuzz::require(peer.events.text.starts_with(before_end));
    if (peer.bad_close) {
        fuzz::require(events.failed);
        return 0;
    }
    if (knows_fewer_codes(events)) return 0;

    // We report an error, and what there was of the message that it cut; wslay only replies.
    fuzz::require(peer.events.text == (events.failed ? before_end : events.text));
    // What is wrong with a header's length, wslay answers by a Close without a code.
    std::string theirs = read_replies(peer.output);
    const std::string no_code = "close 1005()\n";
    if (events.failed && theirs.ends_with(no_code))
        theirs.replace(theirs.size() - no_code.size(), no_code.size(), "close 1002()\n");
    fuzz::require(theirs == read_replies(replies));
    return 0;
}
