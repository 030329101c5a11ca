// SPDX-License-Identifier: BSD-3-Clause
// One WebSocket client of the load generator.
#include "client.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "deflate.h"
#include "sockets.h"

namespace bench {
namespace {

// The work of a send(), if messages are shorter.
constexpr size_t good_send = 64 * 1024;
constexpr uint8_t mask_key[4] = {0x12, 0x34, 0x56, 0x78};

std::array<uint8_t, 256 * 1024> scratch;

// No line ends, so that framing "lines" can carry it; a period that is none of a mask's.
constexpr uint8_t content_at(uint64_t offset) { return static_cast<uint8_t>('a' + offset % 23); }

// First byte of a frame.
constexpr uint8_t fin = 0x80;
constexpr uint8_t compressed = 0x40;

std::vector<uint8_t> masked_frame(std::span<const uint8_t> payload, uint8_t first) {
    std::array<uint8_t, longest_header> space;
    uint8_t* const end = space.data() + space.size() - 4;
    uint8_t* const begin = write_header_before(end, first, payload.size());
    begin[1] |= 0x80;
    memcpy(end, mask_key, 4);
    std::vector<uint8_t> frame(begin, end + 4);
    const size_t header = frame.size();
    frame.insert(frame.end(), payload.begin(), payload.end());
    unmask(std::span(frame).subspan(header), mask_key, 0);
    return frame;
}

}  // namespace

double now_in_seconds() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

Traffic::Traffic(size_t size, uint8_t opcode, Options options)
    : size(size), stream(options.stream), shared(options.shared), deflate(options.deflate) {
    std::vector<uint8_t> payload(size);
    for (size_t i = 0; i < size; ++i) payload[i] = content_at(i);
    const std::vector<uint8_t> one =
        deflate ? masked_frame(deflate_message(payload), fin | compressed | opcode)
                : masked_frame(payload, fin | opcode);
    frame = one.size();
    do frames.insert(frames.end(), one.begin(), one.end());
    while (frames.size() + frame <= good_send);
}

Client::Client(EventLoop& loop, const Traffic& traffic, Observer& observer)
    : loop_(loop), traffic_(traffic), observer_(observer) {}

Client::~Client() {
    if (fd_ >= 0) ::close(fd_);
}

void Client::connect(uint16_t port, const std::string& path) {
    fd_ = connect_to_port(port);
    if (fd_ < 0) return end(std::string("connect: ") + strerror(errno));
    loop_.add(fd_, events_, *this);
    request_ = "GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(port) +
               "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    if (traffic_.deflate) request_ += "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    request_ += "\r\n";
}

void Client::update() {
    const uint32_t events =
        (reading_ ? EPOLLIN : 0u) | (owed_ || !request_.empty() ? EPOLLOUT : 0u);
    if (fd_ < 0 || events == events_) return;
    events_ = events;
    loop_.change(fd_, events, *this);
}

void Client::ready(uint32_t events) {
    if (fd_ < 0) return;
    if (events & EPOLLOUT) {
        if (!request_.empty()) {
            const ssize_t size = send(fd_, request_.data(), request_.size(), MSG_NOSIGNAL);
            if (size < 0 && errno != EAGAIN) return end(std::string("send: ") + strerror(errno));
            if (size > 0) request_.erase(0, static_cast<size_t>(size));
        }
        send_owed();
    }
    if (fd_ >= 0 && reading_ && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive();
    update();
}

void Client::send_messages(size_t count) {
    owed_ += count * traffic_.frame;
    if (!traffic_.shared) sent_.insert(sent_.end(), count, now_in_seconds());
    send_owed();
}

void Client::send_owed() {
    while (fd_ >= 0 && owed_) {
        const size_t most = std::min<uint64_t>(owed_, traffic_.frames.size() - position_);
        const ssize_t size = send(fd_, traffic_.frames.data() + position_, most, MSG_NOSIGNAL);
        if (size < 0 && errno != EAGAIN) return end(std::string("send: ") + strerror(errno));
        if (size < 0) break;
        owed_ -= static_cast<uint64_t>(size);
        // What was sent ends in the same place of any of the frames.
        position_ = (position_ + static_cast<size_t>(size)) % traffic_.frame;
        if (static_cast<size_t>(size) < most) break;
    }
    update();
}

// Only to be called when nothing else is to be sent: one small frame, which the socket takes.
void Client::send_close() {
    uint8_t frame[] = {0x80 | close, 0x80 | 2, 0, 0, 0, 0, 1000 >> 8, 1000 & 255};
    closing_ = true;
    if (send(fd_, frame, sizeof frame, MSG_NOSIGNAL) < 0) end(strerror(errno));
}

void Client::receive() {
    const ssize_t size = recv(fd_, scratch.data(), scratch.size(), 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (size <= 0) {
        const std::string how = size < 0 ? strerror(errno) : "end of file";
        return end(closing_ ? "" : open_ ? "connection lost: " + how : "no response: " + how);
    }
    std::span<const uint8_t> bytes(scratch.data(), static_cast<size_t>(size));
    if (!open_) handshake(bytes);
    if (!reading_) return;  // what came along with the response is not read either
    take_frames(bytes);
    if (fd_ >= 0) report_echoes();
}

void Client::handshake(std::span<const uint8_t>& bytes) {
    const size_t before = head_.size();
    head_.append(bytes.begin(), bytes.end());
    const size_t end_of_head = head_.find("\r\n\r\n");
    if (end_of_head == std::string::npos) {
        bytes = {};
        return;
    }
    bytes = bytes.subspan(end_of_head + 4 - before);
    if (!head_.starts_with("HTTP/1.1 101 "))
        return end("refused: " + head_.substr(0, head_.find('\r')));
    if (traffic_.deflate && head_.find("permessage-deflate") == std::string::npos)
        return end("no permessage-deflate");
    open_ = true;
    std::string().swap(head_);
    observer_.opened(*this);
}

void Client::take_frames(std::span<const uint8_t> bytes) {
    while (fd_ >= 0 && !bytes.empty()) {
        if (left_ == 0 && !begin_frame(bytes)) continue;
        const auto piece = bytes.first(std::min<uint64_t>(left_, bytes.size()));
        bytes = bytes.subspan(piece.size());
        left_ -= piece.size();
        if (!header_.control()) take_payload(piece);
    }
}

// False if there is nothing to take of it yet.
bool Client::begin_frame(std::span<const uint8_t>& bytes) {
    const size_t before = begun_.size();
    begun_.insert(begun_.end(), bytes.begin(),
                  bytes.begin() + std::min<ptrdiff_t>(bytes.end() - bytes.begin(), longest_header));
    header_ = read_header(begun_);
    if (!header_.size) {
        bytes = {};
        return false;
    }
    bytes = bytes.subspan(header_.size - before);
    begun_.clear();
    left_ = header_.payload;
    if (header_.opcode() == close) {
        end(closing_ ? "" : "server closed");
        return false;
    }
    return left_ > 0 || !header_.control();  // the last fragment may be empty
}

bool Client::content_is_right(std::span<const uint8_t> piece) const {
    for (size_t i = 0; i < piece.size() && received_ + i < traffic_.size; ++i)
        if (piece[i] != content_at(received_ + i)) return false;
    return true;
}

void Client::take_payload(std::span<const uint8_t> piece) {
    if (header_.opcode() != continuation) compressing_ = header_.first & compressed;
    if (!compressing_) return take_message(piece);
    compressed_.insert(compressed_.end(), piece.begin(), piece.end());
    if (left_ > 0 || !header_.fin()) return;
    const std::vector<uint8_t> message = inflate_message(compressed_, traffic_.size);
    std::vector<uint8_t>().swap(compressed_);
    take_message(message);
}

void Client::take_message(std::span<const uint8_t> piece) {
    if (!verified_ && echoes_ == 0 && !content_is_right(piece)) return end("wrong content");
    received_ += piece.size();
    if (traffic_.stream) {
        echoes_ += received_ / traffic_.size;
        received_ %= traffic_.size;
    } else if (left_ == 0 && header_.fin()) {
        if (received_ != traffic_.size)
            return end("an echo of " + std::to_string(received_) + " bytes, not " +
                       std::to_string(traffic_.size));
        received_ = 0;
        ++echoes_;
    }
}

// Of all that was read in one go, so that what is sent for them goes in one go.
void Client::report_echoes() {
    const size_t count = std::exchange(echoes_, 0);
    if (count == 0) return;
    verified_ = true;
    if (traffic_.shared) return observer_.echoed(*this, count, 0);
    if (count > sent_.size()) return end("more echoes than messages");
    const double sent = sent_[count - 1];
    sent_.erase(sent_.begin(), sent_.begin() + static_cast<ptrdiff_t>(count));
    observer_.echoed(*this, count, sent);
}

void Client::end(const std::string& why) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
    observer_.ended(*this, why);
}

}  // namespace bench
