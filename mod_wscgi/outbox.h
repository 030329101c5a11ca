// SPDX-License-Identifier: BSD-3-Clause
// What is to be sent to a client, gathered for one system call: small pieces are put together,
// large ones stay where they are.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <span>

namespace wscgi {

class Outbox {
  public:
    // True if the piece was taken; false: send and clear() first. A piece of `small` bytes or more
    // must stay where it is until then; others are copied. `front`: bytes of memory before the
    // piece that may be overwritten.
    bool add(std::span<const uint8_t> piece, size_t front = 0) {
        if (piece.size() < small) return add_copy(piece);
        return (front && add_after_copies(piece, front)) || add_reference(piece);
    }

    std::span<const struct iovec> pieces() const { return std::span(pieces_).first(count_); }
    bool empty() const { return count_ == 0; }
    void clear() { count_ = used_ = 0; }

    static constexpr size_t small = 2048;

    // As add(), but the piece, of at most `room` bytes, is always copied.
    bool add_copy(std::span<const uint8_t> piece) {
        if (piece.empty()) return true;
        if (piece.size() > copies_.size() - used_) return false;
        uint8_t* const copy = copies_.data() + used_;
        const bool adjoins = count_ && end_of(pieces_[count_ - 1]) == copy;
        if (!adjoins && count_ == pieces_.size()) return false;
        memcpy(copy, piece.data(), piece.size());
        used_ += piece.size();
        if (adjoins)
            pieces_[count_ - 1].iov_len += piece.size();
        else
            pieces_[count_++] = {copy, piece.size()};
        return true;
    }
    static constexpr size_t room = 32 * 1024;

  private:
    // One piece of memory is sent by the shorter way: if nothing but copies was added, and they fit
    // in front of the piece, there they go.
    bool add_after_copies(std::span<const uint8_t> piece, size_t front) {
        if (count_ != 1 || pieces_[0].iov_len != used_ || used_ > front) return false;
        uint8_t* const start = const_cast<uint8_t*>(piece.data()) - used_;
        memcpy(start, copies_.data(), used_);
        pieces_[0] = {start, used_ + piece.size()};
        used_ = 0;
        return true;
    }
    bool add_reference(std::span<const uint8_t> piece) {
        if (count_ == pieces_.size()) return false;
        pieces_[count_++] = {const_cast<uint8_t*>(piece.data()), piece.size()};
        return true;
    }
    static uint8_t* end_of(const struct iovec& piece) {
        return static_cast<uint8_t*>(piece.iov_base) + piece.iov_len;
    }

    std::array<struct iovec, 256> pieces_;
    std::array<uint8_t, room> copies_;
    size_t count_ = 0;
    size_t used_ = 0;
};

}  // namespace wscgi
