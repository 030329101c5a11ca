// SPDX-License-Identifier: BSD-3-Clause
// Requests that wait because the queue to the workers is full: first come, first served, no more
// than a set number, none longer than a set time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>

namespace fd_transfer {

// `Request` is whatever waits; the backlog does not own it, and its owner removes it when it dies.
template <class Request>
class Backlog {
    struct Entry {
        Request* request;
        int64_t deadline;
    };

  public:
    // A request's place in the line; valid until the request leaves it.
    using Place = typename std::list<Entry>::iterator;

    // At most `capacity` requests wait, each for at most `patience` seconds.
    Backlog(size_t capacity, int64_t patience) : capacity_(capacity), patience_(patience) {}

    bool empty() const { return entries_.empty(); }
    bool full() const { return entries_.size() >= capacity_; }
    size_t size() const { return entries_.size(); }

    // To be called only if not full(). `now` in seconds.
    Place append(Request* request, int64_t now) {
        return entries_.insert(entries_.end(), {request, now + patience_});
    }

    void remove(Place place) { entries_.erase(place); }

    // Whose turn it is; nullptr if nobody waits.
    Request* first() const { return entries_.empty() ? nullptr : entries_.front().request; }

    // Who has waited too long; nullptr if nobody has. All wait equally long, so the first in the
    // line is the first to be late.
    Request* late(int64_t now) const {
        return entries_.empty() || entries_.front().deadline > now ? nullptr : first();
    }

  private:
    size_t capacity_;
    int64_t patience_;
    std::list<Entry> entries_;
};

}  // namespace fd_transfer
