// SPDX-License-Identifier: BSD-3-Clause
// The record's decoder and encoder against the vectors that the Python tests read too.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "process/handoff_record.h"

// clang-format off: check.h defines fail() as a macro, so it comes after the C++ headers.
#include <check.h>
// clang-format on

using namespace process;

namespace {

struct Vector {
    std::string name, expected;
    std::size_t fds = 0;
    std::vector<std::uint8_t> message;
    HandoffRecord record;
};

std::vector<std::uint8_t> bytes_of(const std::string& text) {
    std::vector<std::uint8_t> bytes;
    if (text == "-") return bytes;
    const std::size_t hex_end = std::min(text.find('+'), text.size());
    for (std::size_t i = 0; i < hex_end; i += 2)
        bytes.push_back(std::uint8_t(std::stoul(text.substr(i, 2), nullptr, 16)));
    if (hex_end < text.size()) bytes.resize(bytes.size() + std::stoul(text.substr(hex_end + 1)));
    return bytes;
}

void set_field(HandoffRecord& record, const std::string& field) {
    const std::size_t equals = field.find('=');
    const std::string name = field.substr(0, equals);
    const unsigned long long value = std::stoull(field.substr(equals + 1));
    if (name == "kind")
        record.kind = HandoffKind(value);
    else if (name == "flags")
        record.flags = std::uint16_t(value);
    else if (name == "id")
        record.id = value;
    else if (name == "socket_index")
        record.socket_index = std::uint32_t(value);
    else if (name == "head_length")
        record.head_length = std::uint32_t(value);
    else if (name == "data_length")
        record.data_length = std::uint32_t(value);
    else if (name == "fields_length")
        record.fields_length = std::uint32_t(value);
    else
        ck_abort_msg("unknown field %s", name.c_str());
}

std::vector<Vector> read_vectors() {
    const char* path = std::getenv("HANDOFF_VECTORS");
    ck_assert_msg(path != nullptr, "HANDOFF_VECTORS must name vectors.txt");
    std::ifstream file(path);
    std::vector<Vector> vectors;
    for (std::string line; std::getline(file, line);) {
        if (line.empty() || line[0] == '#') continue;
        std::istringstream words(line);
        Vector v;
        std::string hex;
        words >> v.name >> v.fds >> v.expected >> hex;
        v.message = bytes_of(hex);
        for (std::string field; words >> field;) set_field(v.record, field);
        vectors.push_back(v);
    }
    ck_assert_msg(vectors.size() > 40, "%zu vectors read from %s", vectors.size(), path);
    return vectors;
}

const char* name_of(HandoffError error) {
    static const char* const names[] = {"none",        "short_header", "bad_magic",
                                        "bad_version", "bad_kind",     "bad_flags",
                                        "bad_lengths", "bad_fields",   "missing_fd",
                                        "too_many_fds"};
    return names[std::size_t(error)];
}

START_TEST(every_vector_decodes_as_it_says) {
    for (const Vector& v : read_vectors()) {
        HandoffRecord record{};
        const HandoffError error = decode_handoff(v.message, v.fds, record);
        ck_assert_msg(v.expected == name_of(error), "%s: %s, expected %s", v.name.c_str(),
                      name_of(error), v.expected.c_str());
        const HandoffRecord untouched{};
        ck_assert_msg(record == (v.expected == "none" ? v.record : untouched), "%s: fields",
                      v.name.c_str());
    }
}
END_TEST

START_TEST(good_vectors_encode_to_the_same_header) {
    for (const Vector& v : read_vectors()) {
        if (v.expected != "none") continue;
        std::uint8_t header[handoff_header_size];
        encode_handoff(v.record, header);
        ck_assert_mem_eq(header, v.message.data(), sizeof header);
        ck_assert_uint_eq(v.record.fds_expected(), v.fds);
    }
}
END_TEST

START_TEST(a_record_cut_anywhere_is_refused) {
    for (const Vector& v : read_vectors()) {
        if (v.expected != "none") continue;
        for (std::size_t size = 0; size < std::min<std::size_t>(v.message.size(), 200); ++size) {
            HandoffRecord record;
            const auto error = decode_handoff({v.message.data(), size}, v.fds, record);
            ck_assert(error == (size < handoff_header_size ? HandoffError::short_header
                                                           : HandoffError::bad_lengths));
        }
    }
}
END_TEST

// The good vectors that fit a message together, as one message.
struct Together {
    std::vector<Vector> vectors;
    std::vector<std::uint8_t> message;
    std::size_t fds = 0;

    Together() {
        for (Vector& v : read_vectors()) {
            if (v.expected != "none" || v.message.size() > 1000) continue;
            message.insert(message.end(), v.message.begin(), v.message.end());
            fds += v.fds;
            vectors.push_back(std::move(v));
        }
        ck_assert_uint_gt(vectors.size(), 10);
    }
};

START_TEST(a_message_of_many_records_is_read_one_by_one) {
    const Together all;
    HandoffReader reader(all.message, all.fds);
    std::size_t fds = 0;
    for (const Vector& v : all.vectors) {
        ck_assert(!reader.done());
        HandoffRecord record;
        ck_assert_msg(reader.next(record) == HandoffError::none, "%s", v.name.c_str());
        ck_assert_msg(record == v.record, "%s", v.name.c_str());
        ck_assert_uint_eq(reader.first_fd(), fds);
        ck_assert_uint_eq(reader.data().size(), record.inline_length());
        ck_assert(std::equal(reader.data().begin(), reader.data().end(),
                             v.message.begin() + handoff_header_size));
        ck_assert_uint_eq(reader.fields().size(), record.fields_length);
        ck_assert(
            std::equal(reader.fields().begin(), reader.fields().end(),
                       v.message.end() - std::ptrdiff_t(record.fields_length), v.message.end()));
        fds += v.fds;
    }
    ck_assert(reader.done());
    HandoffRecord record;
    ck_assert(decode_handoff(all.message, all.fds, record) == HandoffError::bad_lengths);
}
END_TEST

// The first error, and how many records were good.
std::pair<HandoffError, std::size_t> read_all(std::span<const std::uint8_t> message,
                                              std::size_t fds) {
    HandoffReader reader(message, fds);
    std::size_t good = 0;
    do {
        HandoffRecord record;
        const HandoffError error = reader.next(record);
        if (error != HandoffError::none) {
            ck_assert(reader.done());
            return {error, good};
        }
        ++good;
    } while (!reader.done());
    return {HandoffError::none, good};
}

START_TEST(many_records_cut_anywhere_are_refused_from_there_on) {
    const Together all;
    std::size_t whole = 0, begin = 0, fds = 0;  // of the records before the cut
    for (std::size_t size = 0; size < all.message.size(); ++size) {
        while (size >= begin + all.vectors[whole].message.size()) {
            begin += all.vectors[whole].message.size();
            fds += all.vectors[whole++].fds;
        }
        const auto [error, good] = read_all({all.message.data(), size}, all.fds);
        if (size == begin && size > 0) {  // between two: what is wrong is the fds
            ck_assert(fds == all.fds || (error == HandoffError::too_many_fds && good == whole - 1));
            ck_assert(read_all({all.message.data(), size}, fds) ==
                      std::pair(HandoffError::none, whole));
            continue;
        }
        // What is left of a header makes the record before it too long.
        const bool in_header = size - begin < handoff_header_size && whole > 0;
        ck_assert(good == (in_header ? whole - 1 : whole));
        ck_assert(error == (size < handoff_header_size ? HandoffError::short_header
                                                       : HandoffError::bad_lengths));
    }
}
END_TEST

START_TEST(the_fds_of_many_records_are_counted) {
    const Together all;
    for (std::size_t fds = 0; fds < all.fds; ++fds)
        ck_assert(read_all(all.message, fds).first == HandoffError::missing_fd);
    ck_assert(read_all(all.message, all.fds + 1).first == HandoffError::too_many_fds);
    ck_assert(read_all({}, 0).first == HandoffError::short_header);
    ck_assert_uint_eq(handoff_fds_needed(all.message), all.fds);
    ck_assert_uint_eq(handoff_fds_needed({}), 0);
    ck_assert(HandoffReader().done());
}
END_TEST

START_TEST(every_error_has_its_own_text) {
    for (int a = 0; a <= int(HandoffError::too_many_fds); ++a)
        for (int b = 0; b < a; ++b)
            ck_assert_str_ne(handoff_error_text(HandoffError(a)),
                             handoff_error_text(HandoffError(b)));
}
END_TEST

}  // namespace

int main() {
    Suite* suite = suite_create("handoff record");
    TCase* tests = tcase_create("record");
    tcase_add_test(tests, every_vector_decodes_as_it_says);
    tcase_add_test(tests, good_vectors_encode_to_the_same_header);
    tcase_add_test(tests, a_record_cut_anywhere_is_refused);
    tcase_add_test(tests, a_message_of_many_records_is_read_one_by_one);
    tcase_add_test(tests, many_records_cut_anywhere_are_refused_from_there_on);
    tcase_add_test(tests, the_fds_of_many_records_are_counted);
    tcase_add_test(tests, every_error_has_its_own_text);
    suite_add_tcase(suite, tests);
    SRunner* runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
