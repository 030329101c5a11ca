// SPDX-License-Identifier: BSD-3-Clause
// One program for all sessions of an endpoint: what it writes goes to every one of them, and what
// any of them says to its stdin. It starts with the first session, and ends some time after the
// last.
#pragma once

#include <list>
#include <memory>
#include <unordered_set>

#include "mod_wscgi/backend.h"
#include "mod_wscgi/program.h"

namespace wscgi {

class Seat;

class SharedProgram {
  public:
    // A session's part in it.
    class Listener {
      public:
        // A piece of a message for the client, or the framing's other kinds.
        virtual void deliver(const Piece& piece) = 0;
        // The program has ended.
        virtual void wake() = 0;

      protected:
        ~Listener() = default;
    };

    // All must outlive it.
    SharedProgram(const Endpoint& endpoint, process::ProgramTable& table, server* srv);

    // From then on the listener gets what the program writes. False, with `error` set, if the
    // program had to be started and could not be.
    bool join(Listener* listener, process::Environment& environment, std::string& error);
    void leave(Listener* listener, Seat* seat);

    // False if the program does not read, and as much as is allowed waits for it already, or
    // others wait for their turn.
    bool write(const Gathered& gathered);
    // Its say() is called when it is its turn. It stands in the line once.
    void wait_for_turn(Seat* seat) { waiting_.push_back(seat); }

    // How the program that the listener has joined has ended, if it has.
    std::optional<ProgramEnd> ended(const Listener* listener) const;

    // To be called about once a second.
    void tick(int64_t now);

  private:
    static handler_t ready(void* context, int events);
    void run();
    bool has_room() const;
    void give_turns();
    void broadcast(std::span<uint8_t> bytes, bool end);

    const Endpoint& endpoint_;
    process::ProgramTable& table_;
    server* srv_;
    std::unique_ptr<Program> program_;
    std::unique_ptr<MessageFraming> framing_;
    std::vector<uint8_t> unframed_;
    std::unordered_set<Listener*> listeners_;
    std::unordered_set<const Listener*> left_behind_;  // they have joined a program that has ended
    std::list<Seat*> waiting_;  // they have something to say, and are not read until it is said
    std::optional<ProgramEnd> last_end_;
    int64_t empty_since_ = 0;
};

// A session's seat at the shared program.
class Seat : public Backend {
  public:
    Seat(SharedProgram& shared, SharedProgram::Listener* listener, uint32_t grace)
        : shared_(shared), listener_(listener), grace_(grace) {}
    ~Seat() override { shared_.leave(listener_, this); }

    Start start(process::Environment& environment, std::string& error) override {
        return shared_.join(listener_, environment, error) ? Start::ready : Start::failed;
    }
    // While the program does not read, only those who talk are stopped, each for itself.
    void write(const Gathered& gathered) override;
    bool input_blocked() const override { return !unsaid_.empty() && !output_ended(); }
    // Its turn: what was to be said is said.
    void say(Program& program);
    void flush() override {}
    bool readable() const override { return false; }
    size_t read(std::span<uint8_t>) override { return 0; }
    bool output_ended() const override { return left_ || shared_.ended(listener_).has_value(); }
    void watch_output(bool) override {}
    std::optional<ProgramEnd> ended() override { return left_ ? end_ : shared_.ended(listener_); }
    // The others go on. What is still to be said is waited for, for a grace.
    void end() override;
    void terminate() override;

  private:
    SharedProgram& shared_;
    SharedProgram::Listener* listener_;
    uint32_t grace_;                 // seconds
    std::vector<uint8_t> unsaid_;    // what was read from the client in one go
    std::optional<int64_t> ending_;  // since when it is to end, seconds
    bool left_ = false;
    std::optional<ProgramEnd> end_;  // as it was when we left
};

}  // namespace wscgi
