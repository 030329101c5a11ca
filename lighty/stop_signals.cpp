// SPDX-License-Identifier: BSD-3-Clause
// A last word before the server stops.
#include "lighty/stop_signals.h"

#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>

#include <atomic>

namespace lighty {
namespace {

constexpr int numbers[] = {SIGTERM, SIGINT, SIGUSR1};
constexpr size_t count = sizeof(numbers) / sizeof(numbers[0]);

// What a signal handler can reach.
struct Seen {
    struct sigaction lighttpds;
    siginfo_t info;
    std::atomic<bool> came;
};
Seen seen[count];
std::atomic<int> wakes{-1};

static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

void on_signal(int number, siginfo_t* info, void*) {
    const int error = errno;
    for (size_t i = 0; i < count; ++i)
        if (numbers[i] == number) {
            seen[i].info = *info;
            seen[i].came = true;
        }
    const uint64_t one = 1;
    (void)!write(wakes, &one, sizeof(one));
    errno = error;
}

void call(const struct sigaction& action, int number, siginfo_t* info) {
    if (action.sa_flags & SA_SIGINFO)
        action.sa_sigaction(number, info, nullptr);
    else if (action.sa_handler != SIG_IGN && action.sa_handler != SIG_DFL)
        action.sa_handler(number);
}

// Whether the event loop would learn of it: a signal that is ignored, or ends the process, stays as
// it is.
bool is_handled(const struct sigaction& action) {
    return (action.sa_flags & SA_SIGINFO) ||
           (action.sa_handler != SIG_IGN && action.sa_handler != SIG_DFL);
}

}  // namespace

bool StopSignals::open(server* srv, Callback before_stop, void* context) {
    woken_ = process::FileDescriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!woken_) return false;
    srv_ = srv;
    before_stop_ = before_stop;
    context_ = context;
    node_ = fdevent_register(srv->ev, woken_.get(), on_event, this);
    fdevent_fdnode_event_set(srv->ev, node_, FDEVENT_IN);
    ++srv->cur_fds;
    wakes = woken_.get();
    for (size_t i = 0; i < count; ++i) {
        seen[i].came = false;
        sigaction(numbers[i], nullptr, &seen[i].lighttpds);
        if (!is_handled(seen[i].lighttpds)) continue;
        struct sigaction ours = {};
        ours.sa_sigaction = on_signal;
        ours.sa_flags = SA_SIGINFO | (seen[i].lighttpds.sa_flags & SA_RESTART);
        sigemptyset(&ours.sa_mask);
        sigaction(numbers[i], &ours, nullptr);
    }
    return true;
}

handler_t StopSignals::on_event(void* self, int) {
    StopSignals& signals = *static_cast<StopSignals*>(self);
    uint64_t times;
    (void)!read(signals.woken_.get(), &times, sizeof(times));
    signals.before_stop_(signals.context_);
    for (size_t i = 0; i < count; ++i)
        if (seen[i].came.exchange(false)) call(seen[i].lighttpds, numbers[i], &seen[i].info);
    return HANDLER_FINISHED;
}

void StopSignals::close() {
    if (!node_) return;
    for (size_t i = 0; i < count; ++i) {
        struct sigaction current;
        sigaction(numbers[i], nullptr, &current);
        const bool is_ours = (current.sa_flags & SA_SIGINFO) && current.sa_sigaction == on_signal;
        if (is_ours) sigaction(numbers[i], &seen[i].lighttpds, nullptr);
        if (seen[i].came.exchange(false)) call(seen[i].lighttpds, numbers[i], &seen[i].info);
    }
    wakes = -1;
    fdevent_fdnode_event_del(srv_->ev, node_);
    fdevent_unregister(srv_->ev, node_);
    node_ = nullptr;
    --srv_->cur_fds;
    woken_.reset();
}

}  // namespace lighty
