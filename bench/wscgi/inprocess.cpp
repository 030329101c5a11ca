// SPDX-License-Identifier: BSD-3-Clause
// The reference: a WebSocket server that echoes messages in its own event loop. There is no program
// behind it, so nobody who runs a program for each session is expected to be as fast (but with
// long messages a relay may be: this one gathers a frame before it answers, as servers do whose
// application gets whole messages).
//
// Usage: inprocess      prints the port it listens on
#include <array>
#include <cstring>
#include <string>

#include "sockets.h"
#include "websocket.h"

namespace bench {
namespace {

constexpr size_t longest_frame = 64 * 1024 * 1024;
constexpr size_t most_kept = 4 * 1024 * 1024;  // bytes, for a client that does not read

std::array<uint8_t, 128 * 1024> scratch;

class Client final : public Handler {
  public:
    Client(EventLoop& loop, int fd) : loop_(loop), connection_(loop, fd, *this) {}

    void ready(uint32_t) override {
        if (!connection_.is_open()) return;
        connection_.flush();
        if (connection_.kept() < most_kept) receive();
        connection_.want_input(connection_.kept() < most_kept);
        if (!connection_.is_open()) loop_.retire(this);
    }

  private:
    void receive() {
        if (!upgraded_) return handshake();
        if (held_) return receive_rest();
        const size_t size = connection_.receive(scratch);
        const std::span<uint8_t> bytes(scratch.data(), size);
        const Echo echo = answer(bytes);
        if (echo.taken < size) hold(bytes.subspan(echo.taken), echo.next);
    }

    // Of a frame that did not come at once; only as much as belongs to it.
    void receive_rest() {
        held_ += connection_.receive({frame_.get() + held_, wanted_ - held_});
        if (held_ < wanted_) return;
        const std::span<uint8_t> bytes(frame_.get(), held_);
        const Echo echo = answer(bytes);
        if (echo.taken == 0)
            hold(bytes, echo.next);  // what was missing was a part of the header
        else
            held_ = 0;
    }

    Echo answer(std::span<uint8_t> bytes) {
        const Echo echo = echo_frames(bytes);
        connection_.send(echo.replies);
        if (echo.closed || echo.next > longest_frame) connection_.close();
        return echo;
    }

    void hold(std::span<const uint8_t> bytes, size_t frame) {
        if (!connection_.is_open()) return;
        wanted_ = frame ? frame : bytes.size() + 1;
        if (wanted_ > capacity_) {
            auto larger = std::make_unique_for_overwrite<uint8_t[]>(wanted_);
            memcpy(larger.get(), bytes.data(), bytes.size());
            frame_ = std::move(larger);
            capacity_ = wanted_;
        } else {
            memmove(frame_.get(), bytes.data(), bytes.size());
        }
        held_ = bytes.size();
    }

    void handshake() {
        const size_t size = connection_.receive(scratch);
        request_.append(reinterpret_cast<const char*>(scratch.data()), size);
        if (!request_.ends_with("\r\n\r\n")) return;
        const std::string response = accept_response(request_);
        connection_.send({reinterpret_cast<const uint8_t*>(response.data()), response.size()});
        upgraded_ = true;
        std::string().swap(request_);
    }

    EventLoop& loop_;
    Connection connection_;
    bool upgraded_ = false;
    std::string request_;
    std::unique_ptr<uint8_t[]> frame_;  // one that is not complete
    size_t capacity_ = 0;
    size_t wanted_ = 0;
    size_t held_ = 0;
};

class Listener final : public Handler {
  public:
    explicit Listener(EventLoop& loop) : loop_(loop), fd_(listen_on_loopback()) {
        loop_.add(fd_, EPOLLIN, *this);
    }
    void ready(uint32_t) override {
        for (int fd; (fd = accept_from(fd_)) >= 0;) new Client(loop_, fd);
    }

  private:
    EventLoop& loop_;
    int fd_;
};

}  // namespace
}  // namespace bench

int main() {
    bench::EventLoop loop;
    bench::Listener listener(loop);
    loop.run();
}
