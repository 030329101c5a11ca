// SPDX-License-Identifier: BSD-3-Clause
// The bytes to and from whoever answers a session.
#include "mod_wscgi/channel.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>

namespace wscgi {
namespace {

bool passes() { return errno == EAGAIN || errno == EINTR || errno == ENOBUFS; }

}  // namespace

handler_t Channel::event(void* context, int events) {
    Channel* const channel = static_cast<Channel*>(context);
    if (events & ~FDEVENT_OUT) channel->readable_ = true;
    return channel->ready_(channel->context_, events);
}

void Channel::open_pipes(int write_end, int read_end) {
    input_.open(srv_, write_end, event, this);
    output_.open(srv_, read_end, event, this);
}

void Channel::open_socket(int fd, bool packets) {
    input_.open(srv_, fd, event, this);
    one_socket_ = true;
    packets_ = packets;
}

void Channel::update_interest() {
    const int in = watching_ && !output_ended_ ? FDEVENT_IN : 0;
    const int out = input_blocked() && !input_closed_ ? FDEVENT_OUT : 0;
    if (one_socket_) {
        input_.want(in | out);
    } else {
        input_.want(out);
        output_.want(in);
    }
}

void Channel::watch_output(bool wanted) {
    if (watching_ == wanted) return;
    watching_ = wanted;
    update_interest();
}

// ---- To the other side

void Channel::write(const Gathered& gathered) {
    if (gathered.empty() || input_closed_) return;
    if (input_blocked())
        keep(gathered, 0, 0);
    else if (packets_)
        write_packets(gathered);
    else
        write_stream(gathered);
}

// A system call takes one large piece faster than many small ones.
void Channel::write_stream(const Gathered& gathered) {
    static Outbox together;
    size_t written = 0;
    bool all = true;
    for (const Gathered::Bytes piece : gathered.pieces()) {
        if (together.add(piece)) continue;
        all = write_together(together, written);
        if (!all) break;
        together.add(piece);
    }
    if (all) all = write_together(together, written);
    if (!all && !input_closed_) keep(gathered, 0, written);
}

// Adds to `written` how many bytes were taken, and clears `together`. True if it was all of them.
bool Channel::write_together(Outbox& together, size_t& written) {
    const std::span<const struct iovec> pieces = together.pieces();
    size_t total = 0;
    for (const struct iovec& piece : pieces) total += piece.iov_len;
    together.clear();
    if (total == 0) return true;
    const ssize_t size =
        one_socket_ && pieces.size() == 1
            ? ::send(input_.fd(), pieces[0].iov_base, pieces[0].iov_len, MSG_NOSIGNAL)
            : ::writev(input_.fd(), pieces.data(), static_cast<int>(pieces.size()));
    if (size > 0) written += static_cast<size_t>(size);
    if (size < 0 && !passes()) input_failed();
    return size == static_cast<ssize_t>(total);
}

void Channel::write_packets(const Gathered& gathered) {
    size_t written = 0;
    for (const Gathered::Bytes packet : gathered.pieces()) {
        const ssize_t size = ::send(input_.fd(), packet.data(), packet.size(), MSG_NOSIGNAL);
        if (size < 0 && passes()) break;
        if (size < 0) return input_failed();
        ++written;
    }
    keep(gathered, written, 0);
}

// Keeps the pieces from number `pieces_written` on, without their first `bytes_written` bytes.
void Channel::keep(const Gathered& gathered, size_t pieces_written, size_t bytes_written) {
    for (const Gathered::Bytes piece : std::span(gathered.pieces()).subspan(pieces_written)) {
        const size_t skipped = std::min(bytes_written, piece.size());
        bytes_written -= skipped;
        const Gathered::Bytes rest = piece.subspan(skipped);
        if (rest.empty()) continue;
        if (packets_ || kept_.empty())
            kept_.emplace_back(rest.begin(), rest.end());
        else
            kept_.back().insert(kept_.back().end(), rest.begin(), rest.end());
    }
    if (input_blocked()) update_interest();
}

size_t Channel::kept() const {
    size_t bytes = 0;
    for (const std::vector<uint8_t>& piece : kept_) bytes += piece.size();
    return bytes - written_;
}

void Channel::flush() {
    if (!input_blocked()) return;
    while (input_blocked() && write_kept_piece()) {
    }
    if (input_blocked()) return;
    update_interest();
    if (close_input_) close_input();
}

// Writes more of the first piece that was kept. False if no more can be written now.
bool Channel::write_kept_piece() {
    const std::span<const uint8_t> rest = std::span(kept_.front()).subspan(written_);
    const ssize_t size = one_socket_ ? ::send(input_.fd(), rest.data(), rest.size(), MSG_NOSIGNAL)
                                     : ::write(input_.fd(), rest.data(), rest.size());
    if (size < 0 && passes()) return false;
    if (size < 0) {
        input_failed();
        return false;
    }
    written_ += static_cast<size_t>(size);
    if (written_ == kept_.front().size()) {
        kept_.pop_front();
        written_ = 0;
    }
    return true;
}

// The other side has closed its input: it wants no more, which is its right.
void Channel::input_failed() {
    kept_.clear();
    written_ = 0;
    input_closed_ = true;
    if (!one_socket_) input_.close();
    update_interest();
}

void Channel::close_input() {
    close_input_ = true;
    if (input_blocked() || input_closed_ || !input_.is_open()) return;
    input_closed_ = true;
    if (one_socket_)
        ::shutdown(input_.fd(), SHUT_WR);
    else
        input_.close();
}

// ---- From the other side

size_t Channel::read(std::span<uint8_t> space) {
    if (!readable()) return 0;
    // Of a socket, recv() is the shorter way.
    const ssize_t size = one_socket_ ? ::recv(input_.fd(), space.data(), space.size(), 0)
                                     : ::read(output_.fd(), space.data(), space.size());
    // A short read of bytes has read all; the next event tells of more, or of the end.
    readable_ = size > 0 && (packets_ || static_cast<size_t>(size) == space.size());
    if (size > 0) return static_cast<size_t>(size);
    if (size < 0 && passes()) return 0;
    broken_ = size < 0;
    end_output();
    return 0;
}

void Channel::end_output() {
    output_ended_ = true;
    if (!one_socket_) output_.close();
    update_interest();
}

void Channel::close() {
    input_.close();
    output_.close();
    input_closed_ = output_ended_ = true;
}

}  // namespace wscgi
