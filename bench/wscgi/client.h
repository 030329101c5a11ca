// SPDX-License-Identifier: BSD-3-Clause
// One WebSocket client of the load generator. It is made to be cheap, so that the server is what is
// measured: all its messages are the same, so what it sends is a frame, masked beforehand,
// repeated.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "event_loop.h"
#include "websocket.h"

namespace bench {

// What every client of a run sends.
struct Traffic {
    struct Options {
        bool stream = false;  // see below
        bool shared = false;
        bool deflate = false;
    };
    Traffic(size_t size, uint8_t opcode, Options options);

    size_t size;   // bytes of a message
    bool stream;   // the server need not keep messages apart: their bytes are counted instead
    bool shared;   // every client gets what any of them has sent
    bool deflate;  // messages are compressed
    size_t frame;  // bytes of a message's frame
    std::vector<uint8_t> frames;  // as many of them as make a good send()
};

class Client;

class Observer {
  public:
    virtual ~Observer() = default;
    virtual void opened(Client& client) = 0;
    // `count` echoes came, the last of which was sent at `sent` (as of now_in_seconds(); 0 if
    // traffic is shared).
    virtual void echoed(Client& client, size_t count, double sent) = 0;
    // The connection has ended: `why` is empty if it was after a Close. May retire the client.
    virtual void ended(Client& client, const std::string& why) = 0;
};

double now_in_seconds();

class Client final : public Handler {
  public:
    // All arguments must outlive the client.
    Client(EventLoop& loop, const Traffic& traffic, Observer& observer);
    ~Client() override;

    void connect(uint16_t port, const std::string& path);
    void send_messages(size_t count);
    void send_close();
    void stop_reading() {
        reading_ = false;
        update();
    }
    void ready(uint32_t events) override;

  private:
    void update();
    void send_owed();
    void receive();
    void handshake(std::span<const uint8_t>& bytes);
    void take_frames(std::span<const uint8_t> bytes);
    bool begin_frame(std::span<const uint8_t>& bytes);
    bool content_is_right(std::span<const uint8_t> piece) const;
    void take_payload(std::span<const uint8_t> piece);
    void take_message(std::span<const uint8_t> piece);
    void report_echoes();
    void end(const std::string& why);

    EventLoop& loop_;
    const Traffic& traffic_;
    Observer& observer_;
    int fd_ = -1;
    uint32_t events_ = EPOLLOUT;
    bool reading_ = true;
    bool open_ = false;
    bool closing_ = false;             // a Close was sent or has come
    std::string head_;                 // of the response, until it is complete
    std::string request_;              // that is not sent yet
    uint64_t owed_ = 0;                // bytes of frames to be sent
    size_t position_ = 0;              // in traffic_.frames, of the next byte to send
    FrameHeader header_;               // of the frame that is being received
    uint64_t left_ = 0;                // of its payload
    std::vector<uint8_t> begun_;       // of a header that did not come at once
    std::vector<uint8_t> compressed_;  // of a message that is compressed
    bool compressing_ = false;         // it is one
    uint64_t received_ = 0;            // bytes of the message that is being received
    size_t echoes_ = 0;                // that came and are not reported yet
    bool verified_ = false;            // the first message was compared with what was sent
    std::deque<double> sent_;          // when the messages were sent whose echoes have not come
};

}  // namespace bench
