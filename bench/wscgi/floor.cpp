// SPDX-License-Identifier: BSD-3-Clause
// The floor: what it costs at least to put a program behind a WebSocket. A relay and nothing else:
// frames off on the way in, frames on on the way out, one unix socket for each client. No web
// server, no rules, no limits.
//
// Usage: floor PATH      of the socket the daemon listens at; prints the port it listens on itself
#include <array>
#include <cstring>
#include <string>

#include "sockets.h"
#include "websocket.h"

namespace bench {
namespace {

// A piece of what is read at once. Room for the header of a frame is in front.
std::array<uint8_t, longest_header + 128 * 1024> scratch;
const std::span<uint8_t> space = std::span(scratch).subspan(longest_header);

// Takes frames apart as they come.
class FrameReader {
  public:
    // Moves the payloads in `bytes` together, in place.
    std::span<uint8_t> payload_of(std::span<uint8_t> bytes) {
        std::span<uint8_t> payload;
        while (!bytes.empty() && !closed_) {
            if (left_ == 0 && !begin_frame(bytes)) continue;
            const auto piece = bytes.first(std::min<uint64_t>(left_, bytes.size()));
            unmask(piece, header_.key, header_.payload - left_);
            left_ -= piece.size();
            bytes = bytes.subspan(piece.size());
            if (!header_.control()) append(payload, piece);
        }
        return payload;
    }
    bool closed() const { return closed_; }

  private:
    static void append(std::span<uint8_t>& payload, std::span<uint8_t> piece) {
        if (payload.empty()) {
            payload = piece;
            return;
        }
        memmove(payload.data() + payload.size(), piece.data(), piece.size());
        payload = {payload.data(), payload.size() + piece.size()};
    }

    // False if no payload follows yet.
    bool begin_frame(std::span<uint8_t>& bytes) {
        const size_t before = begun_;
        const size_t more = std::min(longest_header - begun_, bytes.size());
        memcpy(begin_ + begun_, bytes.data(), more);
        header_ = read_header({begin_, begun_ + more});
        if (!header_.size) {
            begun_ += more;
            bytes = {};
            return false;
        }
        bytes = bytes.subspan(header_.size - before);
        begun_ = 0;
        left_ = header_.payload;
        closed_ = header_.opcode() == close;
        return left_ > 0;
    }

    FrameHeader header_;
    uint64_t left_ = 0;              // of the frame's payload
    uint8_t begin_[longest_header];  // of a header that did not come at once
    size_t begun_ = 0;
    bool closed_ = false;
};

class Relay {
  public:
    Relay(EventLoop& loop, int client, int daemon)
        : loop_(loop),
          from_client_(*this, client_, &Relay::client_readable),
          from_daemon_(*this, daemon_, &Relay::daemon_readable),
          client_(loop, client, from_client_),
          daemon_(loop, daemon, from_daemon_) {
        daemon_.want_input(false);  // until the client's request is answered
    }

  private:
    struct Side final : Handler {
        Side(Relay& relay, Connection& connection, void (Relay::*readable)())
            : relay_(relay), connection_(connection), readable_(readable) {}
        void ready(uint32_t events) override {
            if (!connection_.is_open()) return;  // closed in this turn
            if (events & EPOLLOUT) connection_.flush();
            if (events & ~uint32_t{EPOLLOUT}) (relay_.*readable_)();
            relay_.settle();
        }
        Relay& relay_;
        Connection& connection_;
        void (Relay::*readable_)();
    };
    struct Remains final : Handler {
        explicit Remains(Relay* relay) : relay_(relay) {}
        void ready(uint32_t) override {}
        std::unique_ptr<Relay> relay_;
    };

    // Who cannot send stops who sends to it.
    void settle() {
        if (client_.is_open() && daemon_.is_open()) {
            client_.want_input(!daemon_.blocked());
            daemon_.want_input(upgraded_ && !client_.blocked());
            return;
        }
        client_.close();
        daemon_.close();
        loop_.retire(new Remains(this));
    }

    void client_readable() {
        const std::span<uint8_t> bytes = space.first(client_.receive(space));
        if (!upgraded_) return handshake(bytes);
        daemon_.send(reader_.payload_of(bytes));
        if (reader_.closed()) say_goodbye();
    }

    void daemon_readable() {
        const size_t size = daemon_.receive(space);
        if (size == 0) return;
        uint8_t* const begin = write_header_before(space.data(), 0x80 | binary, size);
        client_.send({begin, space.data() + size});
    }

    void handshake(std::span<const uint8_t> bytes) {
        request_.append(bytes.begin(), bytes.end());
        if (!request_.ends_with("\r\n\r\n")) return;
        const std::string response = accept_response(request_);
        client_.send({reinterpret_cast<const uint8_t*>(response.data()), response.size()});
        upgraded_ = true;
        std::string().swap(request_);
    }

    void say_goodbye() {
        const uint8_t frame[] = {0x80 | close, 2, 1000 >> 8, 1000 & 255};
        client_.send(frame);
        client_.close();
    }

    EventLoop& loop_;
    Side from_client_;
    Side from_daemon_;
    Connection client_;
    Connection daemon_;
    FrameReader reader_;
    std::string request_;
    bool upgraded_ = false;
};

class Listener final : public Handler {
  public:
    Listener(EventLoop& loop, const char* daemon)
        : loop_(loop), daemon_(daemon), fd_(listen_on_loopback()) {
        loop_.add(fd_, EPOLLIN, *this);
    }
    void ready(uint32_t) override {
        for (int fd; (fd = accept_from(fd_)) >= 0;) new Relay(loop_, fd, connect_to(daemon_));
    }

  private:
    EventLoop& loop_;
    const char* daemon_;
    int fd_;
};

}  // namespace
}  // namespace bench

int main(int count, char** arguments) {
    if (count != 2) {
        fprintf(stderr, "usage: floor PATH\n");
        return 2;
    }
    bench::EventLoop loop;
    bench::Listener listener(loop, arguments[1]);
    loop.run();
}
