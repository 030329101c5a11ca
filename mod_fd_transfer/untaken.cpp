// SPDX-License-Identifier: BSD-3-Clause
// What has become of hand-offs whose answer has not begun.
#include "mod_fd_transfer/untaken.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

namespace fd_transfer {
namespace {

// A worker that is stopped within the moment between recvmsg() and its claim is not dead; two
// seconds of our ticks tell the one from the other.
constexpr int64_t missing_means_dead = 2;

// A worker that returns the connection at the end of a short answer needs not say that it has
// begun.
constexpr int64_t longest_short_answer = 2;

bool held_by_nobody(Untaken& handoff, const ChannelView& channel) {
    const pid_t owner = fcntl(handoff.socket, F_GETOWN);
    if (owner == 0) {
        handoff.received = true;
        return true;
    }
    if (owner != handoff.keeper) return false;
    // Nobody has claimed it. It waits in the queue, or its worker died before it could.
    if (channel.broken) return true;
    if (channel.death) handoff.orphaned = true;
    const bool received = channel.empty || handoff.id < channel.last_received;
    if (!handoff.orphaned || !received) return false;
    if (!handoff.missing_since) handoff.missing_since = channel.now;
    handoff.received = channel.now - *handoff.missing_since >= missing_means_dead;
    return handoff.received;
}

}  // namespace

pid_t claim_for_server(int client) {
    const pid_t server = getpid();
    fcntl(client, F_SETOWN, server);
    return server;
}

uint64_t announced_length(int client, uint64_t id) {
    timeval value = {};
    socklen_t size = sizeof(value);
    getsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &value, &size);
    const auto announcement = uint64_t(value.tv_sec);
    return announcement >> 32 == (id & 0xfffff) ? announcement & 0xffffffff : 0;
}

pid_t owner_of(const Untaken& handoff) { return fcntl(handoff.socket, F_GETOWN); }

Fate fate_of(Untaken& handoff, const ChannelView& channel) {
    const bool dead = held_by_nobody(handoff, channel);
    const std::optional<Progress> progress = progress_of(handoff.socket);
    if (!progress) return Fate::gone;
    const uint64_t written = progress->written - handoff.before.written;
    const uint64_t announced = written ? announced_length(handoff.socket, handoff.id) : 0;
    if (!dead) {
        if (!written || announced) return Fate::pending;
        if (!handoff.answering_since) handoff.answering_since = channel.now;
        return channel.now - *handoff.answering_since < longest_short_answer ? Fate::pending
                                                                             : Fate::answering;
    }
    // What the worker read of the client's has died with it.
    const bool whole = handoff.repeatable && progress->consumed == handoff.before.consumed;
    if (written) return whole && written == announced ? Fate::complete : Fate::broken_off;
    return whole ? Fate::repeatable : Fate::unanswered;
}

}  // namespace fd_transfer
