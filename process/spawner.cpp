// SPDX-License-Identifier: BSD-3-Clause
// Starts programs from threads of its own.
#include "process/spawner.h"

#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <list>
#include <mutex>

#include "process/file_descriptor.h"

namespace process {

// Orders move from list to list by splicing: the threads allocate nothing, so that the C library
// need not keep memory for each of them.
struct Spawner::Shared {
    using Orders = std::list<std::unique_ptr<Order>>;

    void start_all();
    std::vector<std::unique_ptr<Order>> take_finished();

    FileDescriptor readable;  // an eventfd
    std::mutex mutex;         // of what follows
    std::condition_variable changed;
    Orders waiting;
    Orders finished;
    bool stopping = false;
};

void Spawner::Shared::start_all() {
    for (;;) {
        Orders mine;
        {
            std::unique_lock lock(mutex);
            while (waiting.empty() && !stopping) changed.wait(lock);
            if (stopping) return;
            mine.splice(mine.begin(), waiting, waiting.begin());
        }
        Order& order = *mine.front();
        order.result = spawn(order.program);
        bool first;
        {
            const std::lock_guard lock(mutex);
            first = finished.empty();
            finished.splice(finished.end(), mine);
        }
        if (first) eventfd_write(readable.get(), 1);
    }
}

std::vector<std::unique_ptr<Spawner::Order>> Spawner::Shared::take_finished() {
    Orders taken;
    {
        const std::lock_guard lock(mutex);
        taken.swap(finished);
    }
    std::vector<std::unique_ptr<Order>> result;
    for (auto& order : taken) result.push_back(std::move(order));
    return result;
}

void* Spawner::run(void* shared) {
    static_cast<Shared*>(shared)->start_all();
    return nullptr;
}

Spawner::Spawner() = default;

Spawner::~Spawner() { stop(); }

bool Spawner::open(int threads) {
    shared_ = std::make_unique<Shared>();
    shared_->readable.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    int error = shared_->readable ? 0 : errno;
    owner_ = getpid();
    // Signals are the server's: a new thread inherits that they are blocked.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 0; i < threads && !error; ++i) {
        pthread_t thread;
        error = pthread_create(&thread, nullptr, run, shared_.get());
        if (!error) threads_.push_back(thread);
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (error) stop();
    errno = error;
    return error == 0;
}

bool Spawner::is_open() const { return shared_ && owner_ == getpid(); }

int Spawner::fd() const { return shared_ ? shared_->readable.get() : -1; }

void Spawner::start(std::unique_ptr<Order> order) {
    {
        const std::lock_guard lock(shared_->mutex);
        shared_->waiting.push_back(std::move(order));
    }
    shared_->changed.notify_one();  // who wakes up need not wait for the mutex
}

bool Spawner::cancel(const Order* order) {
    const std::lock_guard lock(shared_->mutex);
    return std::erase_if(shared_->waiting,
                         [order](const auto& other) { return other.get() == order; }) > 0;
}

std::vector<std::unique_ptr<Spawner::Order>> Spawner::finished() {
    eventfd_t count;
    eventfd_read(fd(), &count);
    return shared_->take_finished();
}

std::vector<std::unique_ptr<Spawner::Order>> Spawner::stop() {
    if (shared_ && owner_ != getpid()) {
        // A thread may have held the mutex, or the lists, when the process was forked.
        shared_->readable.reset();
        (void)shared_.release();
        threads_.clear();
    }
    if (!shared_) return {};
    {
        const std::lock_guard lock(shared_->mutex);
        shared_->stopping = true;
        shared_->waiting.clear();
        shared_->changed.notify_all();
    }
    for (const pthread_t thread : threads_) pthread_join(thread, nullptr);
    threads_.clear();
    auto last = shared_->take_finished();
    shared_.reset();
    return last;
}

}  // namespace process
