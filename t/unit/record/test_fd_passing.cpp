// SPDX-License-Identifier: BSD-3-Clause
// Messages with fds: what arrives is owned once, what is refused is closed, nothing blocks.
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include "process/fd_passing.h"

using namespace process;

namespace {

int open_fds() {
    DIR* directory = opendir("/proc/self/fd");
    int count = 0;
    while (readdir(directory) != nullptr) ++count;
    closedir(directory);
    return count;
}

struct Pair {
    int ends[2];
    Pair() { ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0); }
    ~Pair() {
        close(ends[0]);
        close(ends[1]);
    }
    int sender() const { return ends[0]; }
    int receiver() const { return ends[1]; }
};

std::span<const std::uint8_t> bytes(const char* text) {
    return {reinterpret_cast<const std::uint8_t*>(text), std::strlen(text)};
}

// send_message() refuses what no record carries, so surplus fds are sent by hand.
void send_raw(int socket, const char* text, std::vector<int> fds) {
    iovec part{const_cast<char*>(text), std::strlen(text)};
    std::vector<char> control(CMSG_SPACE(fds.size() * sizeof(int)));
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(c), fds.data(), fds.size() * sizeof(int));
    ck_assert_int_eq(sendmsg(socket, &message, 0), ssize_t(std::strlen(text)));
}

START_TEST(header_data_and_fds_arrive_as_one_message) {
    Pair pair;
    const int passed[] = {0, 1};
    ck_assert(send_message(pair.sender(), bytes("head"), bytes("data"), passed) ==
              PassingError::none);
    std::uint8_t buffer[64];
    ReceivedMessage message;
    ck_assert(receive_message(pair.receiver(), buffer, message) == PassingError::none);
    ck_assert_uint_eq(message.size, 8);
    ck_assert_mem_eq(buffer, "headdata", 8);
    ck_assert_uint_eq(message.fds.count(), 2);
    ck_assert(fcntl(message.fds[0], F_GETFD) & FD_CLOEXEC);
    ck_assert_int_eq(message.sender, 0);
}
END_TEST

START_TEST(fds_not_released_are_closed) {
    Pair pair;
    const int before = open_fds();
    int kept = -1;
    {
        const int passed[] = {0, 1};
        send_message(pair.sender(), bytes("x"), {}, passed);
        std::uint8_t buffer[8];
        ReceivedMessage message;
        ck_assert(receive_message(pair.receiver(), buffer, message) == PassingError::none);
        kept = message.fds.release(0);
        ck_assert_int_eq(message.fds[0], -1);
        ck_assert_int_eq(message.fds.release(0), -1);
        ReceivedFds moved = std::move(message.fds);
        ck_assert_uint_eq(moved.count(), 2);
    }
    ck_assert_int_eq(open_fds(), before + 1);
    close(kept);
}
END_TEST

START_TEST(credentials_may_stand_before_the_fds) {
    Pair pair;
    const int on = 1;
    setsockopt(pair.receiver(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
    const int passed[] = {0};
    send_message(pair.sender(), bytes("x"), {}, passed);
    std::uint8_t buffer[8];
    ReceivedMessage message;
    ck_assert(receive_message(pair.receiver(), buffer, message) == PassingError::none);
    ck_assert_uint_eq(message.fds.count(), 1);
    ck_assert_int_eq(message.sender, getpid());
}
END_TEST

START_TEST(receiving_never_blocks_and_leaves_the_socket_blocking) {
    Pair pair;
    std::uint8_t buffer[8];
    ReceivedMessage message;
    ck_assert(receive_message(pair.receiver(), buffer, message) == PassingError::would_block);
    ck_assert(!(fcntl(pair.receiver(), F_GETFL) & O_NONBLOCK));
}
END_TEST

START_TEST(a_full_queue_says_would_block) {
    Pair pair;
    PassingError error = PassingError::none;
    int sent = 0;
    while (sent < 100000 && error == PassingError::none) {
        error = send_message(pair.sender(), bytes("x"), {}, {});
        sent += error == PassingError::none;
    }
    ck_assert(error == PassingError::would_block);
    ck_assert_int_gt(sent, 0);
}
END_TEST

START_TEST(a_closed_peer_is_end_of_file_and_no_signal) {
    Pair pair;
    close(pair.ends[0]);
    std::uint8_t buffer[8];
    ReceivedMessage message;
    ck_assert(receive_message(pair.receiver(), buffer, message) == PassingError::peer_closed);
    ck_assert(send_message(pair.receiver(), bytes("x"), {}, {}) == PassingError::peer_closed);
    pair.ends[0] = dup(0);
}
END_TEST

START_TEST(what_a_peer_sent_before_it_died_arrives_even_if_it_left_messages_unread) {
    Pair pair;
    const int passed[] = {0};
    ck_assert(send_message(pair.sender(), bytes("x"), {}, passed) == PassingError::none);
    ck_assert(send_message(pair.receiver(), bytes("unread"), {}, {}) == PassingError::none);
    close(pair.ends[0]);
    std::uint8_t buffer[8];
    ReceivedMessage message;
    ck_assert(receive_message(pair.receiver(), buffer, message) == PassingError::none);
    ck_assert_uint_eq(message.fds.count(), 1);
    ck_assert(receive_message(pair.receiver(), buffer, message) == PassingError::peer_closed);
    pair.ends[0] = dup(0);
}
END_TEST

// What refusing has in common: the error, every fd closed (but `kept` of them, if the last ones
// were dropped), and the next message is received.
void refused(Pair& pair, std::size_t buffer_size, PassingError expected, int fds_before,
             std::size_t kept = 0) {
    std::vector<std::uint8_t> buffer(buffer_size);
    ReceivedMessage message;
    ck_assert_int_eq(int(receive_message(pair.receiver(), buffer, message)), int(expected));
    ck_assert_uint_eq(message.fds.count(), kept);
    ck_assert_int_eq(open_fds(), fds_before + int(kept));
    message.fds.close_all();
    ck_assert_int_eq(open_fds(), fds_before);
    const int passed[] = {0};
    send_message(pair.sender(), bytes("n"), {}, passed);
    ck_assert(receive_message(pair.receiver(), buffer, message) == PassingError::none);
}

START_TEST(a_message_longer_than_the_buffer_is_refused) {
    Pair pair;
    const int before = open_fds();
    const int passed[] = {0};
    send_message(pair.sender(), bytes("123456789"), {}, passed);
    refused(pair, 8, PassingError::truncated_data, before);
}
END_TEST

START_TEST(more_fds_than_any_record_are_refused) {
    Pair pair;
    const int before = open_fds();
    send_raw(pair.sender(), "x", std::vector<int>(ReceivedFds::capacity + 1, 0));
    refused(pair, 8, PassingError::too_many_fds, before);
}
END_TEST

START_TEST(fds_the_kernel_dropped_are_missed) {
    Pair pair;
    const int before = open_fds();
    send_raw(pair.sender(), "x", std::vector<int>(100, 0));
    refused(pair, 8, PassingError::truncated_fds, before, ReceivedFds::capacity);
}
END_TEST

START_TEST(a_full_descriptor_table_is_refused_and_survived) {
    Pair pair;
    const int passed[] = {0, 1};
    ck_assert(send_message(pair.sender(), bytes("x"), {}, passed) == PassingError::none);
    const int before = open_fds();
    const int next = dup(0);
    close(next);
    rlimit old_limit, limit;
    getrlimit(RLIMIT_NOFILE, &old_limit);
    limit = {rlim_t(next) + 1, old_limit.rlim_max};  // room for one of the two
    setrlimit(RLIMIT_NOFILE, &limit);
    std::uint8_t buffer[8];
    ReceivedMessage message;
    const PassingError error = receive_message(pair.receiver(), buffer, message);
    setrlimit(RLIMIT_NOFILE, &old_limit);
    ck_assert_int_eq(int(error), int(PassingError::truncated_fds));
    ck_assert_uint_eq(message.size, 1);
    ck_assert_uint_eq(message.fds.count(), 1);
    message.fds.close_all();
    ck_assert_int_eq(open_fds(), before);
}
END_TEST

}  // namespace

int main() {
    signal(SIGPIPE, SIG_DFL);
    Suite* suite = suite_create("fd passing");
    TCase* tests = tcase_create("fd passing");
    tcase_add_test(tests, header_data_and_fds_arrive_as_one_message);
    tcase_add_test(tests, fds_not_released_are_closed);
    tcase_add_test(tests, credentials_may_stand_before_the_fds);
    tcase_add_test(tests, receiving_never_blocks_and_leaves_the_socket_blocking);
    tcase_add_test(tests, a_full_queue_says_would_block);
    tcase_add_test(tests, a_closed_peer_is_end_of_file_and_no_signal);
    tcase_add_test(tests, what_a_peer_sent_before_it_died_arrives_even_if_it_left_messages_unread);
    tcase_add_test(tests, a_message_longer_than_the_buffer_is_refused);
    tcase_add_test(tests, more_fds_than_any_record_are_refused);
    tcase_add_test(tests, fds_the_kernel_dropped_are_missed);
    tcase_add_test(tests, a_full_descriptor_table_is_refused_and_survived);
    suite_add_tcase(suite, tests);
    SRunner* runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
