// SPDX-License-Identifier: BSD-3-Clause
// Whoever answers a session: a program of its own, a daemon, or a program it shares with others.
#pragma once

#include <optional>
#include <string>

#include "mod_wscgi/channel.h"
#include "mod_wscgi/relay.h"
#include "process/environment.h"

namespace wscgi {

class Backend {
  public:
    virtual ~Backend() = default;

    enum class Start : uint8_t { ready, pending, failed };

    // False while it is not its turn. It is then asked again, as start() is.
    virtual bool may_start() { return true; }

    // Begins, with the request's variables, and is called again while it is pending: what happens
    // in between is told to lighttpd by joblist_append() of the session's connection. `error`: what
    // has failed, for the log.
    virtual Start start(process::Environment& environment, std::string& error) = 0;

    // As Channel has them.
    virtual void write(const Gathered& gathered) = 0;
    virtual bool input_blocked() const = 0;
    virtual void flush() = 0;
    virtual bool readable() const = 0;
    virtual size_t read(std::span<uint8_t> space) = 0;
    virtual bool output_ended() const = 0;
    virtual void watch_output(bool wanted) = 0;

    // How it has ended, once it has and all its output was read.
    virtual std::optional<ProgramEnd> ended() = 0;
    // It is to end: its input is closed, and it has a grace.
    virtual void end() = 0;
    // It is to end at once.
    virtual void terminate() = 0;
};

// A backend with a channel of its own.
class ChannelBackend : public Backend {
  public:
    ChannelBackend(server* srv, fdevent_handler ready, void* context)
        : channel_(srv, ready, context) {}

    void write(const Gathered& gathered) override { channel_.write(gathered); }
    bool input_blocked() const override { return channel_.input_blocked(); }
    void flush() override { channel_.flush(); }
    bool readable() const override { return channel_.readable(); }
    size_t read(std::span<uint8_t> space) override { return channel_.read(space); }
    bool output_ended() const override { return channel_.output_ended(); }
    void watch_output(bool wanted) override { channel_.watch_output(wanted); }

  protected:
    Channel channel_;
};

}  // namespace wscgi
