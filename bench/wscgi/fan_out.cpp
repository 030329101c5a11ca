// SPDX-License-Identifier: BSD-3-Clause
// What it costs at least to tell many listeners the same: a WebSocket server that writes each frame
// that it gets to all its clients, one after the other. No program, no limits; a frame that does
// not come at once ends its connection.
//
// Usage: fan_out      prints the port it listens on
#include <array>
#include <string>
#include <vector>

#include "sockets.h"
#include "websocket.h"

namespace bench {
namespace {

std::array<uint8_t, 128 * 1024> scratch;

class Member final : public Handler {
  public:
    Member(EventLoop& loop, int fd, std::vector<Member*>& all)
        : loop_(loop), all_(all), connection_(loop, fd, *this) {}

    void ready(uint32_t) override {
        if (!connection_.is_open()) return;
        connection_.flush();
        const size_t size = connection_.receive(scratch);
        if (upgraded_)
            tell_all(std::span(scratch).first(size));
        else
            handshake(std::string(scratch.begin(), scratch.begin() + static_cast<long>(size)));
        if (connection_.is_open()) return;
        std::erase(all_, this);
        loop_.retire(this);
    }

  private:
    void handshake(const std::string& request) {
        if (!request.ends_with("\r\n\r\n")) return connection_.close();
        const std::string response = accept_response(request);
        connection_.send({reinterpret_cast<const uint8_t*>(response.data()), response.size()});
        upgraded_ = true;
        all_.push_back(this);
    }

    void tell_all(std::span<uint8_t> bytes) {
        const Echo echo = echo_frames(bytes);
        if (echo.closed || echo.taken < bytes.size()) return connection_.close();
        for (Member* const member : all_) member->connection_.send(echo.replies);
    }

    EventLoop& loop_;
    std::vector<Member*>& all_;
    Connection connection_;
    bool upgraded_ = false;
};

class Listener final : public Handler {
  public:
    explicit Listener(EventLoop& loop) : loop_(loop), fd_(listen_on_loopback()) {
        loop_.add(fd_, EPOLLIN, *this);
    }
    void ready(uint32_t) override {
        for (int fd; (fd = accept_from(fd_)) >= 0;) new Member(loop_, fd, members_);
    }

  private:
    EventLoop& loop_;
    std::vector<Member*> members_;
    int fd_;
};

}  // namespace
}  // namespace bench

int main() {
    bench::EventLoop loop;
    bench::Listener listener(loop);
    loop.run();
}
