// SPDX-License-Identifier: BSD-3-Clause
// One client and its program.
#include "mod_wscgi/session.h"

#include <sys/random.h>

#include <algorithm>
#include <array>

#include "lighty/compat.h"
#include "lighty/options.h"
#include "mod_wscgi/environment.h"
#include "mod_wscgi/frame_relay.h"
#include "mod_wscgi/lines.h"
#include "mod_wscgi/message_relay.h"

namespace wscgi {
namespace {

// lighttpd is one thread: what is needed only inside a call is shared by all sessions.
std::array<uint8_t, 64 * 1024> scratch;

// Bytes of a program's header, at most.
constexpr size_t longest_header = 16 * 1024;

// A line that is not complete is passed on as a fragment when it has grown to this.
constexpr size_t unframed_enough = 16 * 1024;

std::string random_id() {
    std::array<uint8_t, 16> bits;
    if (getrandom(bits.data(), bits.size(), 0) != static_cast<ssize_t>(bits.size())) abort();
    std::string id;
    for (const uint8_t byte : bits) {
        id += "0123456789abcdef"[byte >> 4];
        id += "0123456789abcdef"[byte & 15];
    }
    return id;
}

std::unique_ptr<Relay> make_relay(const Endpoint& endpoint, ClientOutput& output) {
    if (endpoint.framing == FramingKind::websocket) return std::make_unique<FrameRelay>(output);
    MessageRelayOptions options;
    options.limits.max_message = endpoint.max_message;
    options.ping_interval = endpoint.ping_interval;
    options.pong_timeout = endpoint.pong_timeout;
    options.close_timeout = endpoint.close_timeout;
    return std::make_unique<MessageRelay>(std::make_unique<Lines>(endpoint.message_type), options,
                                          output, log_monotonic_secs);
}

}  // namespace

Session::Session(request_st* r, Endpoint& endpoint, process::ProgramTable& programs)
    : r_(r),
      con_(r->con),
      endpoint_(endpoint),
      id_(random_id()),
      program_(r->con, programs),
      began_(log_monotonic_secs) {
    ++endpoint_.sessions;
}

Session::~Session() {
    --endpoint_.sessions;
    if (relay_) log_end();
    program_.end();
}

handler_t Session::run() {
    switch (stage_) {
        case Stage::waiting:
            return begin();
        case Stage::answering:
            return read_answer();
        case Stage::open:
            return relay();
        case Stage::ended:
            break;
    }
    return HANDLER_FINISHED;
}

// ---- The handshake

// What is wrong with the request is said to the client too; what is wrong here is not its business.
handler_t Session::refuse(int status, const std::string& reason) {
    log_error(r_->conf.errh, __FILE__, __LINE__, "wscgi %s: %s refused with %d: %s", id_.c_str(),
              r_->target_orig.ptr, status, reason.c_str());
    stage_ = Stage::ended;
    return lighty::refuse(r_, status, status < 500 ? reason + "\n" : "");
}

handler_t Session::begin() {
    const bool program_answers = endpoint_.framing == FramingKind::websocket;
    const Answer answer =
        program_answers ? check_origin_and_body(r_, endpoint_) : wscgi::answer(r_, endpoint_);
    if (!answer.accepted()) return refuse(answer.status, answer.reason);
    if (endpoint_.sessions > endpoint_.max_sessions)
        return refuse(503, "\"max-sessions\" are running already");

    std::string error;
    if (!start_program(error)) return refuse(error.starts_with("two header") ? 400 : 500, error);
    relay_ = make_relay(endpoint_, *this);
    if (program_answers) {
        stage_ = Stage::answering;
        program_.watch_output(true);
        return read_answer();
    }
    upgrade(answer.status);
    return relay();
}

bool Session::start_program(std::string& error) {
    process::Environment environment;
    error = fill_environment(environment, r_, endpoint_, id_);
    if (error.empty()) error = program_.start(endpoint_, environment, "wscgi " + id_ + " stderr");
    return error.empty();
}

handler_t Session::read_answer() {
    const size_t size = program_.read(scratch);
    unframed_.insert(unframed_.end(), scratch.data(), scratch.data() + size);

    std::span<uint8_t> bytes(unframed_);
    ProgramHeaders headers;
    std::string error;
    const HeadersResult result = read_program_headers(bytes, headers, error);
    if (result == HeadersResult::malformed) return refuse(502, "program's header: " + error);
    if (result == HeadersResult::incomplete) {
        if (program_.output_ended()) return refuse(502, "program ended without a complete header");
        if (unframed_.size() > longest_header) return refuse(502, "program's header has no end");
        if (log_monotonic_secs - began_ >= endpoint_.handshake_timeout)
            return refuse(504, "program printed no header within \"handshake-timeout\"");
        return HANDLER_WAIT_FOR_EVENT;
    }

    set_program_fields(r_, headers);
    const int accepted = r_->http_version > HTTP_VERSION_1_1 ? 200 : 101;
    if (headers.status != 101 && headers.status != accepted)
        return headers.status ? refuse(headers.status, "refused by the program")
                              : refuse(502, "program's header has no Status");
    unframed_.erase(unframed_.begin(), unframed_.end() - static_cast<ptrdiff_t>(bytes.size()));
    upgrade(accepted);
    return relay();
}

void Session::upgrade(int status) {
    // Read as much at a time as is there, and as the queue takes without a temporary file.
    r_->conf.stream_request_body &= static_cast<unsigned short>(~FDEVENT_STREAM_REQUEST_BUFMIN);
    r_->conf.stream_request_body |= FDEVENT_STREAM_REQUEST;
    http_response_upgrade_read_body_unknown(r_);
    chunkqueue_append_chunkqueue(&r_->reqbody_queue, &r_->read_queue);
    if (endpoint_.framing != FramingKind::websocket) {
        // We ask a silent client ourselves whether it lives; lighttpd would end it without a word.
        r_->conf.max_read_idle = r_->conf.max_write_idle = 0xffff;
    }
    r_->http_status = status;
    r_->resp_body_started = 1;
    stage_ = Stage::open;
}

// ---- The open session

void Session::append(std::span<const uint8_t> bytes) {
    if (bytes.empty()) return;
    program_bytes_ += static_cast<int64_t>(bytes.size());
    chunkqueue_append_mem(&r_->write_queue, reinterpret_cast<const char*>(bytes.data()),
                          bytes.size());
}

handler_t Session::relay() {
    program_.flush();
    if (!receive()) return HANDLER_ERROR;
    transmit();
    settle();
    return stage_ == Stage::ended ? HANDLER_FINISHED : HANDLER_WAIT_FOR_EVENT;
}

// Client to program. False if the connection is broken.
bool Session::receive() {
    chunkqueue* const queue = &r_->reqbody_queue;
    while (take_from_client(queue) && !client_ended_ && con_->is_readable > 0) {
        const handler_t result = con_->reqbody_read(r_);
        if (result == HANDLER_ERROR) {
            if (r_->state == CON_STATE_ERROR) return false;
            client_ended_ = true;
        } else if (result == HANDLER_FINISHED) {
            return false;
        }
        if (chunkqueue_is_empty(queue)) break;
    }
    // A client that has only shut down its direction (FIN) is told to us as a known length.
    if (r_->reqbody_length >= 0 && chunkqueue_is_empty(queue)) client_ended_ = true;
    if (client_ended_ && chunkqueue_is_empty(queue)) relay_->client_ended();

    if (program_.input_blocked() || client_ended_)
        r_->conf.stream_request_body &= static_cast<unsigned short>(~FDEVENT_STREAM_REQUEST_POLLIN);
    else
        r_->conf.stream_request_body |= FDEVENT_STREAM_REQUEST_POLLIN;
    return true;
}

// Bytes at the front of the queue, which may be changed in place. Those of a temporary file (where
// HTTP/2 puts what does not fit its window) are taken from the queue into `scratch`.
std::span<uint8_t> Session::front(chunkqueue* queue) {
    chunk* const c = queue->first;
    if (c->type == chunk::MEM_CHUNK) {
        char* const start = c->mem->ptr + c->offset;
        return {reinterpret_cast<uint8_t*>(start),
                buffer_clen(c->mem) - static_cast<size_t>(c->offset)};
    }
    const off_t size = std::min<off_t>(c->file.length - c->offset, scratch.size());
    if (chunkqueue_read_data(queue, reinterpret_cast<char*>(scratch.data()),
                             static_cast<uint32_t>(size), r_->conf.errh) < 0)
        return {};
    return std::span(scratch).first(static_cast<size_t>(size));
}

// Empties the queue as far as the program reads. False if it does not.
bool Session::take_from_client(chunkqueue* queue) {
    static Gathered gathered;
    while (!program_.input_blocked() && !chunkqueue_is_empty(queue)) {
        const bool in_memory = queue->first->type == chunk::MEM_CHUNK;
        std::span<uint8_t> bytes = front(queue);
        const size_t size = bytes.size();
        if (size == 0) return false;
        while (!bytes.empty()) {
            gathered.clear();
            relay_->from_client(bytes, gathered);
            program_.write(gathered);
        }
        client_bytes_ += static_cast<int64_t>(size);
        if (in_memory) chunkqueue_mark_written(queue, static_cast<off_t>(size));
    }
    // server.max-request-size is meant for requests: a session may be as long as it likes.
    queue->bytes_in -= queue->bytes_out;
    queue->bytes_out = 0;
    return chunkqueue_is_empty(queue);
}

// Program to client, as far as the client reads.
void Session::transmit() {
    if (!unframed_.empty()) take_from_program({});
    while (!program_.output_ended() && chunkqueue_length(&r_->write_queue) < endpoint_.window) {
        const size_t size = program_.read(scratch);
        if (size == 0) break;
        take_from_program(std::span(scratch).first(size));
        if (size < scratch.size()) break;
    }
    program_.watch_output(chunkqueue_length(&r_->write_queue) < endpoint_.window);
}

void Session::take_from_program(std::span<uint8_t> fresh) {
    std::span<uint8_t> bytes = fresh;
    if (!unframed_.empty()) {
        unframed_.insert(unframed_.end(), fresh.begin(), fresh.end());
        bytes = unframed_;
    }
    relay_->from_program(bytes, false, bytes.size() >= unframed_enough);
    unframed_ = std::vector<uint8_t>(bytes.begin(), bytes.end());
}

// Ends what has come to its end.
void Session::settle() {
    if (relay_->input_ended()) program_.end();
    if (!relay_->output_wanted()) program_.terminate();
    if (program_.output_ended()) {
        if (!unframed_.empty()) {
            std::span<uint8_t> rest(unframed_);
            relay_->from_program(rest, true, true);
            unframed_.clear();
        }
        program_.end();
        const std::optional<ProgramEnd> end = program_.ended();
        if (end && !program_ended_) relay_->program_ended(*end);
        program_ended_ = program_ended_ || end;
    }
    if (relay_->finished()) {
        stage_ = Stage::ended;
        r_->resp_body_finished = 1;
    }
}

void Session::tick() {
    if (relay_ && stage_ == Stage::open) relay_->tick(log_monotonic_secs);
    joblist_append(con_);
}

void Session::shut_down() {
    if (relay_ && stage_ == Stage::open)
        relay_->shut_down(ws::close_code::going_away, "server is going away");
}

void Session::log_end() const {
    const std::string outcome(relay_->outcome());
    log_error(r_->conf.errh, __FILE__, __LINE__,
              "wscgi %s: %s ended after %lld s, %lld bytes in, %lld bytes out: %s", id_.c_str(),
              r_->target_orig.ptr, static_cast<long long>(log_monotonic_secs - began_),
              static_cast<long long>(client_bytes_), static_cast<long long>(program_bytes_),
              outcome.empty() ? "connection lost" : outcome.c_str());
}

}  // namespace wscgi
