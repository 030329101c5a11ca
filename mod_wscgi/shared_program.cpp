// SPDX-License-Identifier: BSD-3-Clause
// One program for all sessions of an endpoint.
#include "mod_wscgi/shared_program.h"

#include <array>

#include "mod_wscgi/endpoint.h"
#include "mod_wscgi/framings.h"

namespace wscgi {
namespace {

std::array<uint8_t, 64 * 1024> scratch;

// What is read in one turn of the event loop, at most, so that others have theirs.
constexpr int reads_in_a_turn = 4;

}  // namespace

SharedProgram::SharedProgram(const Endpoint& endpoint, process::ProgramTable& table, server* srv)
    : endpoint_(endpoint), table_(table), srv_(srv) {}

bool SharedProgram::join(Listener* listener, process::Environment& environment,
                         std::string& error) {
    if (!program_) {
        auto program =
            std::make_unique<Program>(endpoint_, endpoint_.command, table_, nullptr, srv_, ready,
                                      this, "wscgi " + endpoint_.prefix + " stderr");
        if (program->start(environment, error) == Backend::Start::failed) return false;
        program_ = std::move(program);
        program_->watch_output(true);
        framing_ = make_framing(endpoint_);
        unframed_.clear();
    }
    listeners_.insert(listener);
    left_behind_.erase(listener);
    return true;
}

void SharedProgram::leave(Listener* listener, Seat* seat) {
    waiting_.remove(seat);
    left_behind_.erase(listener);
    if (listeners_.erase(listener) && listeners_.empty()) empty_since_ = log_monotonic_secs;
}

std::optional<ProgramEnd> SharedProgram::ended(const Listener* listener) const {
    if (!left_behind_.contains(listener)) return std::nullopt;
    return last_end_;
}

bool SharedProgram::has_room() const { return program_->kept() < endpoint_.window; }

bool SharedProgram::write(const Gathered& gathered) {
    if (!waiting_.empty() || !has_room()) return false;
    program_->write(gathered);
    return true;
}

void SharedProgram::give_turns() {
    while (!waiting_.empty() && has_room()) {
        Seat* const next = waiting_.front();
        waiting_.pop_front();
        next->say(*program_);
    }
}

handler_t SharedProgram::ready(void* context, int) {
    static_cast<SharedProgram*>(context)->run();
    return HANDLER_FINISHED;
}

void SharedProgram::run() {
    if (!program_) return;
    program_->flush();
    give_turns();
    for (int i = 0; i < reads_in_a_turn; ++i) {
        const size_t size = program_->read(scratch);
        if (size == 0) break;
        broadcast(std::span(scratch).first(size), false);
    }
    if (program_->output_ended()) program_->end();
    const std::optional<ProgramEnd> end = program_->ended();
    if (!end) return;
    broadcast({}, true);
    last_end_ = end;
    program_.reset();
    waiting_.clear();
    left_behind_.insert(listeners_.begin(), listeners_.end());
    const std::unordered_set<Listener*> awake = std::move(listeners_);
    listeners_.clear();
    for (Listener* const listener : awake) listener->wake();
}

void SharedProgram::broadcast(std::span<uint8_t> fresh, bool end) {
    std::span<uint8_t> bytes = fresh;
    if (!unframed_.empty()) {
        unframed_.insert(unframed_.end(), fresh.begin(), fresh.end());
        bytes = unframed_;
    }
    bool full = bytes.size() >= unframed_enough;
    for (;;) {
        const Piece piece = framing_->from_program(bytes, end, full);
        if (piece.kind == Piece::Kind::none) break;
        for (Listener* const listener : listeners_) listener->deliver(piece);
        if (piece.kind == Piece::Kind::invalid) bytes = {};
        full = false;
    }
    unframed_ = std::vector<uint8_t>(bytes.begin(), bytes.end());
}

void SharedProgram::tick(int64_t now) {
    run();  // an end that is overdue is noticed by looking
    if (program_ && listeners_.empty() && now - empty_since_ >= endpoint_.linger) program_->end();
}

// ---- A seat

void Seat::write(const Gathered& gathered) {
    if (gathered.empty() || output_ended()) return;
    const bool waits = !unsaid_.empty();
    if (!waits && shared_.write(gathered)) return;
    for (const Gathered::Bytes piece : gathered.pieces())
        unsaid_.insert(unsaid_.end(), piece.begin(), piece.end());
    if (!waits && !unsaid_.empty()) shared_.wait_for_turn(this);
}

void Seat::say(Program& program) {
    Gathered gathered;
    gathered.add(unsaid_);
    program.write(gathered);
    unsaid_ = {};
    listener_->wake();
}

void Seat::end() {
    if (!ending_) ending_ = log_monotonic_secs;
    if (!input_blocked() || log_monotonic_secs - *ending_ >= grace_) terminate();
}

void Seat::terminate() {
    if (left_) return;
    end_ = shared_.ended(listener_).value_or(ProgramEnd{ProgramEnd::Kind::exited, 0});
    left_ = true;
    shared_.leave(listener_, this);
}

}  // namespace wscgi
