// SPDX-License-Identifier: BSD-3-Clause
// Masking and UTF-8 validation: every kernel this CPU has must do what a byte loop does, at every
// length, alignment and split.
#include "ws/kernels.h"
#include "ws/mask.h"
#include "ws/utf8.h"

#include "suite.h"

// Runs a test's body once with each kernel.
template <class Body>
static void with_each_kernel(Body body) {
    const auto& chosen = ws::kernels();
    for (const auto* kernels : ws::usable_kernels()) {
        ws::use_kernels(*kernels);
        body();
    }
    ws::use_kernels(chosen);
}

START_TEST(the_widest_kernel_is_chosen) {
    ck_assert_ptr_eq(&ws::kernels(), ws::usable_kernels().back());
    ck_assert_str_eq(ws::usable_kernels().front()->name, "scalar");
}
END_TEST

START_TEST(masking_is_a_byte_loop_at_every_length_and_alignment) {
    const ws::MaskKey key = {0x01, 0x80, 0xA5, 0xFF};
    with_each_kernel([&] {
        for (size_t size = 0; size < 600; size++)
            for (size_t offset = 0; offset < 33; offset += size % 4 + 1) {
                Bytes data(offset + size + 1);
                for (size_t i = 0; i < data.size(); i++) data[i] = uint8_t(i * 37 + size);
                Bytes expected = data;
                for (size_t i = 0; i < size; i++) expected[offset + i] ^= key[i % 4];
                ws::apply_mask(std::span(data).subspan(offset, size), key);
                if (data != expected) ck_abort_msg("size %zu, offset %zu", size, offset);
            }
    });
}
END_TEST

START_TEST(masking_in_pieces_is_masking_at_once) {
    const ws::MaskKey key = {1, 2, 3, 4};
    with_each_kernel([&] {
        for (size_t cut = 0; cut <= 300; cut++) {
            Bytes whole(300, 0x55), pieces = whole;
            ws::apply_mask(whole, key);
            ws::apply_mask(std::span(pieces).first(cut), key);
            ws::apply_mask(std::span(pieces).subspan(cut), ws::rotate(key, cut));
            ck_assert(whole == pieces);
        }
    });
}
END_TEST

// The definition: decodes a character the plain way. Returns its size, 0 if it is cut at the end of
// the text, or the negated index of the first impossible byte, less one.
static int decode(std::span<const uint8_t> text) {
    static const struct {
        uint8_t low, high;
        uint32_t smallest;
    } firsts[] = {{0x00, 0x7F, 0}, {0xC0, 0xDF, 0x80}, {0xE0, 0xEF, 0x800}, {0xF0, 0xF7, 0x10000}};
    for (int extra = 0; extra < 4; extra++) {
        if (text[0] < firsts[extra].low || text[0] > firsts[extra].high) continue;
        // Every continuation there could be: if none of them makes a character, the byte before is
        // impossible.
        uint32_t low = text[0] & (extra ? 0x3F >> extra : 0x7F), high = low;
        for (int i = 0; i <= extra; i++) {
            if (i > 0) {
                if (size_t(i) == text.size()) return 0;
                if ((text[i] & 0xC0) != 0x80) return -i - 1;
                low = low << 6 | (text[i] & 0x3F);
                high = high << 6 | (text[i] & 0x3F);
            }
            const int left = 6 * (extra - i);
            const uint32_t from = low << left, to = (high << left) | ((1u << left) - 1);
            const bool possible = to >= firsts[extra].smallest && from <= 0x10FFFF &&
                                  !(from >= 0xD800 && to <= 0xDFFF);
            if (!possible) return -i - 1;
        }
        return extra + 1;
    }
    return -1;
}

// How many bytes of `text` are possible, by the definition.
static size_t possible_bytes(std::span<const uint8_t> text, bool& complete) {
    size_t at = 0;
    complete = true;
    while (at < text.size()) {
        const int size = decode(text.subspan(at));
        if (size == 0) {
            complete = false;
            return text.size();
        }
        if (size < 0) return at + size_t(-size - 1);
        at += size_t(size);
    }
    return at;
}

static void expect_as_defined(const Bytes& text) {
    bool complete;
    const size_t possible = possible_bytes(text, complete);
    ws::Utf8Validator validator;
    const size_t found = validator.check(text);
    // Not ck_assert(): Check takes note of each, and these are millions.
    if (found != possible) ck_abort_msg("%zu bytes instead of %zu", found, possible);
    if (possible == text.size() && validator.complete() != complete) ck_abort_msg("completeness");
}

START_TEST(every_sequence_of_three_bytes) {
    for (uint32_t first = 0x70; first < 0x100; first++)
        for (uint32_t rest = 0; rest < 0x10000; rest++)
            expect_as_defined({uint8_t(first), uint8_t(rest >> 8), uint8_t(rest)});
}
END_TEST

START_TEST(every_sequence_of_four_bytes_at_the_bounds) {
    const uint8_t bounds[] = {0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF,
                              0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xEC, 0xED, 0xEE,
                              0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xF8, 0xFF};
    with_each_kernel([&] {
        for (const uint8_t a : bounds)
            for (const uint8_t b : bounds)
                for (const uint8_t c : bounds)
                    for (const uint8_t d : bounds) {
                        expect_as_defined({a, b, c, d});
                        // Again where vectors meet.
                        Bytes text(160, 'x');
                        const uint8_t four[] = {a, b, c, d};
                        std::copy(four, four + 4, text.begin() + 61);
                        expect_as_defined(text);
                    }
    });
}
END_TEST

static void append_character(Bytes& text, uint32_t c) {
    if (c < 0x80) {
        text.push_back(uint8_t(c));
        return;
    }
    const int extra = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    text.push_back(uint8_t((0xF0 << (3 - extra)) | c >> 6 * extra));
    for (int i = extra - 1; i >= 0; i--) text.push_back(uint8_t(0x80 | (c >> 6 * i & 0x3F)));
}

static Bytes random_text(Random& random, size_t size) {
    static const uint32_t bounds[] = {0x80, 0x80, 0x800, 0x10000, 0x110000};
    Bytes text;
    const uint32_t kinds = 1 + random.below(5);
    while (text.size() < size) {
        const uint32_t c = (random() << 8 ^ random()) % bounds[random.below(kinds)];
        if (c < 0xD800 || c > 0xDFFF) append_character(text, c);
    }
    return text;
}

START_TEST(valid_text_of_every_kind_is_valid_at_every_split) {
    Random random(1);
    with_each_kernel([&] {
        for (int round = 0; round < 60; round++) {
            const Bytes text = random_text(random, 1 + random.below(500));
            for (size_t cut = 0; cut <= text.size(); cut++) {
                ws::Utf8Validator validator;
                ck_assert_uint_eq(validator.check(std::span(text).first(cut)), cut);
                ck_assert_uint_eq(validator.check(std::span(text).subspan(cut)), text.size() - cut);
                ck_assert(validator.complete());
            }
        }
    });
}
END_TEST

START_TEST(damaged_text_fails_at_the_first_impossible_byte) {
    Random random(2);
    with_each_kernel([&] {
        for (int round = 0; round < 20000; round++) {
            Bytes text = random_text(random, 1 + random.below(300));
            for (uint32_t damages = random.below(3); damages > 0; damages--) {
                const uint32_t at = random.below(uint32_t(text.size()));
                if (random.below(2))
                    text[at] = uint8_t(random());
                else
                    text.erase(text.begin() + at);
                if (text.empty()) text.push_back('x');
            }
            expect_as_defined(text);
        }
    });
}
END_TEST

START_TEST(kernels_skip_no_more_than_whole_valid_characters) {
    Random random(3);
    for (const auto* kernels : ws::usable_kernels())
        for (int round = 0; round < 20000; round++) {
            Bytes text = random_text(random, 64 + random.below(400));
            text[random.below(uint32_t(text.size()))] = uint8_t(random());
            const size_t skipped = kernels->skip_utf8(text.data(), text.size());
            bool complete;
            ck_assert_uint_eq(possible_bytes(std::span(text).first(skipped), complete), skipped);
            ck_assert(complete);
        }
}
END_TEST

int main() {
    return run_suite(
        "kernels",
        {the_widest_kernel_is_chosen, masking_is_a_byte_loop_at_every_length_and_alignment,
         masking_in_pieces_is_masking_at_once, every_sequence_of_three_bytes,
         every_sequence_of_four_bytes_at_the_bounds,
         valid_text_of_every_kind_is_valid_at_every_split,
         damaged_text_fails_at_the_first_impossible_byte,
         kernels_skip_no_more_than_whole_valid_characters});
}
