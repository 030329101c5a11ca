// SPDX-License-Identifier: BSD-3-Clause
// What is gathered for one system call: small pieces together, large ones where they are.
#include <string>
#include <vector>

#include "mod_wscgi/outbox.h"

#include "t/unit/suite.h"  // last

using wscgi::Outbox;

namespace {

Outbox outbox;

std::string gathered() {
    std::string text;
    for (const struct iovec& piece : outbox.pieces())
        text.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
    outbox.clear();
    return text;
}

std::span<const uint8_t> bytes(const std::string& text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

}  // namespace

START_TEST(small_pieces_become_one) {
    ck_assert(outbox.add(bytes("ab")) && outbox.add(bytes("c")));
    ck_assert_uint_eq(outbox.pieces().size(), 1);
    ck_assert(gathered() == "abc");
    ck_assert(outbox.empty());
}
END_TEST

START_TEST(a_large_piece_stays_where_it_is) {
    const std::string large(Outbox::small, 'x');
    ck_assert(outbox.add(bytes("a")) && outbox.add(bytes(large)) && outbox.add(bytes("b")));
    ck_assert_uint_eq(outbox.pieces().size(), 3);
    ck_assert_ptr_eq(outbox.pieces()[1].iov_base, large.data());
    ck_assert(gathered() == "a" + large + "b");
}
END_TEST

START_TEST(what_was_copied_moves_in_front_of_a_large_piece_if_it_fits) {
    std::string memory = "0123456789" + std::string(Outbox::small, 'x');
    const std::string large = memory.substr(10);
    const std::span<const uint8_t> piece = bytes(memory).subspan(10);

    ck_assert(outbox.add(bytes("ab")) && outbox.add(piece, 2));
    ck_assert_uint_eq(outbox.pieces().size(), 1);
    ck_assert_ptr_eq(outbox.pieces()[0].iov_base, memory.data() + 8);
    ck_assert(outbox.add(bytes("c")));
    ck_assert(gathered() == "ab" + large + "c");
    ck_assert(memory.starts_with("01234567ab"));

    ck_assert(outbox.add(bytes("def")) && outbox.add(piece, 2));
    ck_assert_uint_eq(outbox.pieces().size(), 2);
    ck_assert(gathered() == "def" + large);

    ck_assert(outbox.add(bytes(large)) && outbox.add(bytes("g")) && outbox.add(piece, 2));
    ck_assert(gathered() == large + "g" + large);
    ck_assert(outbox.add(piece, 10));
    ck_assert(gathered() == large);
    ck_assert(memory.starts_with("01234567ab"));
}
END_TEST

// A compressor may have nothing to give yet: a null pointer, which memcpy() must not see.
START_TEST(nothing_is_no_piece) {
    ck_assert(outbox.add({}) && outbox.add_copy({}));
    ck_assert(outbox.empty());
}
END_TEST

START_TEST(what_does_not_fit_is_refused_whole) {
    const std::string half(Outbox::room / 2 + 1, 'x');
    ck_assert(outbox.add_copy(bytes(half)));
    ck_assert(!outbox.add_copy(bytes(half)));
    ck_assert(gathered() == half);
}
END_TEST

int main() {
    return run_suite("outbox", {small_pieces_become_one, a_large_piece_stays_where_it_is,
                                what_was_copied_moves_in_front_of_a_large_piece_if_it_fits,
                                nothing_is_no_piece, what_does_not_fit_is_refused_whole});
}
