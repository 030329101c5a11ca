// SPDX-License-Identifier: BSD-3-Clause
// One client and who answers it: what happens while the session is open.
#include "mod_wscgi/session.h"

#include <algorithm>
#include <array>

#include "lighty/client_stream.h"
#include "lighty/compat.h"
#include "mod_wscgi/framings.h"
#include "mod_wscgi/scratch.h"

namespace wscgi {
namespace {

// Bytes that are read from a client in one turn of the event loop: what a pipe or a socket takes at
// once by default. What it does not take would have to be copied, and its readiness be watched.
constexpr size_t pipe_takes = 64 * 1024;
constexpr size_t socket_takes = 128 * 1024;

// Bytes of a program in one turn: what fills a socket's buffer is read in one go.
constexpr size_t program_writes = 128 * 1024;

// Reads in one turn through lighttpd's queues, which take less at a time.
constexpr int reads_in_a_turn = 8;

}  // namespace

handler_t Session::run() {
    const handler_t result = advance();
    lighty::keep_small(&r_->reqbody_queue);
    return result;
}

handler_t Session::advance() {
    const bool opening = stage_ == Stage::starting || stage_ == Stage::answering;
    if (opening && lighty::is_stopping(con_->srv))
        return refuse(503, "stopping", "lighttpd stops, or is reloaded");
    switch (stage_) {
        case Stage::waiting:
            return begin();
        case Stage::starting:
            return start();
        case Stage::answering:
            return read_answer();
        case Stage::open:
            return relay();
        case Stage::ended:
            break;
    }
    return HANDLER_FINISHED;
}

handler_t Session::relay() {
    backend_->flush();
    if (!receive()) return HANDLER_ERROR;
    transmit();
    settle();
    return stage_ == Stage::ended ? HANDLER_FINISHED : HANDLER_WAIT_FOR_EVENT;
}

// Called by the event loop.
handler_t Session::program_ready(void* session, int events) {
    Session& self = *static_cast<Session*>(session);
    const bool done = events == FDEVENT_IN && self.stage_ == Stage::open && self.pass_on();
    if (!done) joblist_append(self.con_);
    return HANDLER_FINISHED;
}

// What the client's socket has taken needs no more of lighttpd. False if there is more to be done.
bool Session::pass_on() {
    if (!lighty::can_write_directly(r_)) return false;
    transmit();
    return chunkqueue_is_empty(&r_->write_queue) && relay_->output_wanted() &&
           !backend_->output_ended();
}

// ---- Client to program

// False if the connection is broken.
bool Session::receive() {
    if (unfinished_ && client_is_read()) take_from_client({});
    const bool well = lighty::can_read_directly(r_) ? receive_directly() : receive_by_queue();
    if (!well) return false;
    if (client_ended_ && !unfinished_) relay_->client_ended();
    if (!client_is_read() || client_ended_)
        r_->conf.stream_request_body &= static_cast<unsigned short>(~FDEVENT_STREAM_REQUEST_POLLIN);
    else
        r_->conf.stream_request_body |= FDEVENT_STREAM_REQUEST_POLLIN;
    return true;
}

// What the program wrote waits up to a window; more than that are pongs which a client asks for
// and does not read.
bool Session::client_is_read() const {
    return !backend_->input_blocked() && !relay_->input_held() &&
           chunkqueue_length(&r_->write_queue) <= 3 * off_t{service_.window};
}

size_t Session::portion() const {
    const bool pipe = service_.model != Model::daemon && service_.framing != FramingKind::packet;
    return pipe ? pipe_takes : socket_takes;
}

// Once: if there is more, the event loop tells so again.
bool Session::receive_directly() {
    if (client_ended_ || con_->is_readable <= 0 || !client_is_read()) return true;
    const std::span<uint8_t> space = std::span(scratch).first(portion());
    size_t size = 0;
    switch (lighty::read_directly(r_, space, size)) {
        case lighty::Read::some:
            put_back(&r_->reqbody_queue,
                     space.first(size).subspan(take_from_client(space.first(size))));
            break;
        case lighty::Read::nothing:
            break;
        case lighty::Read::end:
            client_ended_ = true;
            break;
        case lighty::Read::failed:
            return false;
    }
    return true;
}

bool Session::receive_by_queue() {
    chunkqueue* const queue = &r_->reqbody_queue;
    for (int reads = 0; empty_queue(queue) && !client_ended_ && con_->is_readable > 0; ++reads) {
        if (reads == reads_in_a_turn) {
            joblist_append(con_);
            break;
        }
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
    if (r_->reqbody_length >= 0) client_ended_ = true;
    client_ended_ = client_ended_ && chunkqueue_is_empty(queue);
    return true;
}

// Returns how many bytes were taken: all of them, unless the client talks faster than it may, or
// says so much in few bytes (compressed) that its program cannot follow.
size_t Session::take_from_client(std::span<uint8_t> bytes) {
    static Gathered gathered;
    const size_t size = bytes.size();
    size_t given = 0;
    do {
        gathered.clear();
        unfinished_ = relay_->from_client(bytes, gathered);
        backend_->write(gathered);
        for (const Gathered::Bytes piece : gathered.pieces()) given += piece.size();
    } while (unfinished_ && !(given >= scratch.size() && backend_->input_blocked()));
    send();  // pongs, and what else the protocol demands
    client_bytes_ += size - bytes.size();
    return size - bytes.size();
}

// What was read, and must wait.
void Session::put_back(chunkqueue* queue, std::span<const uint8_t> bytes) {
    if (bytes.empty()) return;
    buffer* const b = chunkqueue_prepend_buffer_open_sz(queue, bytes.size() + 1);
    buffer_copy_string_len(b, reinterpret_cast<const char*>(bytes.data()), bytes.size());
    chunkqueue_prepend_buffer_commit(queue);
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

// As far as the program reads. False if it does not.
bool Session::empty_queue(chunkqueue* queue) {
    while (client_is_read() && !chunkqueue_is_empty(queue)) {
        const bool in_memory = queue->first->type == chunk::MEM_CHUNK;
        const std::span<uint8_t> bytes = front(queue);
        if (bytes.empty()) return false;
        const size_t taken = take_from_client(bytes);
        if (in_memory) {
            chunkqueue_mark_written(queue, static_cast<off_t>(taken));
        } else if (taken < bytes.size()) {
            put_back(queue, bytes.subspan(taken));
            queue->bytes_out -= static_cast<off_t>(bytes.size() - taken);
            queue->bytes_in -= static_cast<off_t>(bytes.size() - taken);
        }
    }
    lighty::give_window(r_, static_cast<uint32_t>(queue->bytes_out));
    // server.max-request-size is meant for requests: a session may be as long as it likes.
    queue->bytes_in -= queue->bytes_out;
    queue->bytes_out = 0;
    return chunkqueue_is_empty(queue);
}

// ---- Program to client

void Session::append(std::span<const uint8_t> bytes) {
    program_bytes_ += bytes.size();
    const size_t front = bytes.data() == program_space.data() ? ws::max_header_size : 0;
    if (bytes.empty() || outbox.add(bytes, front)) return;
    send();
    outbox.add(bytes);
}

void Session::append_copy(std::span<const uint8_t> bytes) {
    program_bytes_ += bytes.size();
    if (outbox.add_copy(bytes)) return;
    send();
    outbox.add_copy(bytes);
}

// Sends what was appended. To be called before the bytes that it refers to are gone, and before
// another session has its turn.
void Session::send() {
    if (outbox.empty()) return;
    lighty::send_to_client(r_, outbox.pieces(), relay_->finished());
    outbox.clear();
}

// As far as the client reads: what waits for it is never more than the window, and a packet.
void Session::transmit() {
    if (!unframed_.empty()) take_from_program({});
    for (size_t taken = 0; backend_->readable() && room() > 0 && taken < program_writes;) {
        const size_t size = backend_->read(program_space.first(piece()));
        if (size == 0) break;
        talkative_ = size >= std::min(size_t{service_.window}, program_writes);
        take_from_program(program_space.first(size));
        taken += size;
    }
    backend_->watch_output(room() > 0);
}

// Bytes to be read at once. Of a program that has much to say more than the window, as long as its
// client's socket takes it: then none of it waits, and half the system calls do.
size_t Session::piece() const {
    if (service_.framing == FramingKind::packet) return program_space.size();
    const size_t sure = room();
    if (!talkative_ || sure == program_space.size()) return sure;
    return std::max(sure, std::min(lighty::socket_room(r_), program_space.size()));
}

// Bytes that may wait for the client now.
size_t Session::room() const {
    const off_t left = service_.window - chunkqueue_length(&r_->write_queue);
    return left > 0 ? std::min(static_cast<size_t>(left), program_space.size()) : 0;
}

void Session::take_from_program(std::span<uint8_t> fresh) {
    std::span<uint8_t> bytes = fresh;
    if (!unframed_.empty()) {
        unframed_.insert(unframed_.end(), fresh.begin(), fresh.end());
        bytes = unframed_;
    }
    relay_->from_program(bytes, false, bytes.size() >= unframed_enough);
    send();
    unframed_ = std::vector<uint8_t>(bytes.begin(), bytes.end());
}

// A message is delivered whole or not at all.
void Session::deliver(const Piece& piece) {
    if (stage_ != Stage::open || !relay_->output_wanted()) return;
    const bool slow = chunkqueue_length(&r_->write_queue) >= service_.window;
    const bool is_message = piece.kind == Piece::Kind::message;
    if (slow && service_.slow == SlowPolicy::drop) {
        count("wscgi.slow-dropped");
        relay_->shut_down(ws::close_code::try_again_later, "too slow");
    } else if (slow && is_message && !in_message_ && !skipping_) {
        count("wscgi.slow-skipped");
        skipping_ = true;
    }
    if (!skipping_) relay_->deliver(piece);
    send();
    if (is_message) {
        in_message_ = !skipping_ && !piece.last;
        skipping_ = skipping_ && !piece.last;
    }
    // What the socket has taken needs no more of lighttpd: with many listeners that is dear.
    if (!chunkqueue_is_empty(&r_->write_queue) || !relay_->output_wanted()) joblist_append(con_);
}

// ---- The end

// Ends what has come to its end.
void Session::settle() {
    if (relay_->input_ended()) backend_->end();
    if (!relay_->output_wanted()) backend_->terminate();
    if (backend_->output_ended() && !output_ended_) {
        output_ended_ = true;
        std::span<uint8_t> rest(unframed_);
        relay_->from_program(rest, true, true);
        send();
        unframed_.clear();
        backend_->end();
    }
    const std::optional<ProgramEnd> end = backend_->ended();
    if (end && !program_ended_) relay_->program_ended(*end);
    program_ended_ = program_ended_ || end;
    send();
    if (relay_->finished()) {
        stage_ = Stage::ended;
        r_->resp_body_finished = 1;
        // A client that never reads the rest does not keep its place for ever.
        r_->conf.max_write_idle = static_cast<unsigned short>(
            std::min<uint32_t>(r_->conf.max_write_idle, service_.close_timeout));
    }
}

void Session::tick() {
    if (relay_ && stage_ == Stage::open) {
        // Its pong waits behind what we do not read, or behind what it is still receiving.
        const off_t written = r_->write_queue.bytes_out;
        const bool is_receiving = written != written_ && !chunkqueue_is_empty(&r_->write_queue);
        if (!client_is_read() || is_receiving) relay_->excuse_silence(log_monotonic_secs);
        written_ = written;
        relay_->tick(log_monotonic_secs);
        send();
    }
    joblist_append(con_);
}

void Session::shut_down() {
    if (!relay_ || stage_ != Stage::open) return;
    relay_->shut_down(ws::close_code::going_away, "server is going away");
    send();
}

Traffic Session::traffic() const {
    if (!relay_) return {};
    return {relay_->messages_in(), relay_->messages_out(), client_bytes_, program_bytes_};
}

void Session::log_end() const {
    const std::string outcome(relay_->outcome());
    log_error(r_->conf.errh, __FILE__, __LINE__,
              "wscgi %s: %s %s %s ended after %lld s, %llu messages and %llu bytes in, %llu "
              "messages and %llu bytes out: %s",
              id_.c_str(), address_.c_str(), r_->target_orig.ptr,
              command_.empty() ? "daemon" : command_.back().c_str(),
              static_cast<long long>(log_monotonic_secs - began_),
              static_cast<unsigned long long>(relay_->messages_in()),
              static_cast<unsigned long long>(client_bytes_),
              static_cast<unsigned long long>(relay_->messages_out()),
              static_cast<unsigned long long>(program_bytes_),
              outcome.empty() ? "connection lost" : outcome.c_str());
}

}  // namespace wscgi
