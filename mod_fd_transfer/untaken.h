// SPDX-License-Identifier: BSD-3-Clause
// Hand-offs whose answer has not begun: the server keeps its own descriptor of the client's socket,
// so that a worker's death does not take the request with it.
//
// Who has which socket, the kernel knows: whoever receives a hand-off makes itself the owner of
// the socket (F_SETOWN), and the server's descriptor shows it (F_GETOWN). The server is the owner
// while the hand-off waits in the queue; a process that is dead and reaped shows as 0.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>

#include "mod_fd_transfer/progress.h"

namespace fd_transfer {

struct Untaken {
    uint64_t id = 0;
    pid_t keeper = 0;         // the process that sent it: the owner while nobody has claimed it
    int socket = -1;          // the client's; belongs to the connection
    Progress before = {};     // at the hand-off
    bool repeatable = false;  // GET or HEAD, without a body
    int64_t since = 0;        // seconds, of the first hand-off
    unsigned deaths = 0;      // of workers that had received it; counted by who acts on a Fate
    bool received = false;    // by a worker that is dead
    size_t channel = 0;       // index
    bool orphaned = false;    // a worker died while nobody had claimed it
    // When it was first seen to be orphaned, and no longer in the queue.
    std::optional<int64_t> missing_since = {};
    // When a living worker was first seen to answer.
    std::optional<int64_t> answering_since = {};
};

// Makes this process the socket's owner, before it is sent to a worker. Returns its id: the server
// may go on in a fork of it (server.graceful-restart-bg).
pid_t claim_for_server(int client);

// A worker that means to return the connection announces how many bytes it is about to write:
// where all who hold the socket can read it, in the seconds of SO_SNDTIMEO, which means nothing to
// a socket that does not block: the length (less than 2^32), and in the bits above it the lowest 20
// of the hand-off's id, so that the announcement of an earlier answer is not taken for this one's.
// 0: nothing is announced for this hand-off.
uint64_t announced_length(int client, uint64_t id);

enum class Fate {
    pending,     // in the queue, or a living worker has it
    answering,   // a living worker has been answering for a while, and has not said so
    broken_off,  // its worker is dead, and bytes of an answer have been written
    complete,    // its worker is dead, but had written all of the answer that it announced
    repeatable,  // its worker is dead, nothing has been written or read: send it again
    unanswered,  // its worker is dead, nothing has been written, but it cannot be sent again
    gone,        // the client has left, or the worker has ended the connection
};

// What a hand-off's channel looks like at this moment.
struct ChannelView {
    bool broken;  // closed by the workers
    bool empty;   // everything in it has been received
    bool death;   // a worker has just died
    int64_t now;  // seconds
    // The queue keeps the order: what was sent before this one has been received, as it has.
    uint64_t last_received = 0;
};

// The process that has claimed it; the keeper: nobody has; 0: one that is dead and reaped.
pid_t owner_of(const Untaken& handoff);

// Whether a worker has claimed it.
inline bool is_claimed(const Untaken& handoff) { return owner_of(handoff) != handoff.keeper; }

// May set received, orphaned, missing_since and answering_since.
Fate fate_of(Untaken& handoff, const ChannelView& channel);

}  // namespace fd_transfer
