// SPDX-License-Identifier: BSD-3-Clause
// libfdworker's Intake without descriptors (RLIMIT_NOFILE): nobody is forgotten, nothing spins.
#include <signal.h>

#include "t/unit/record/few_descriptors.h"
#include "t/unit/record/intake_bench.h"

namespace {

Status receive_without_descriptors(Intake& intake, int free = 0) {
    const FewDescriptors few(free);
    Handoff handoff;
    return intake.receive(handoff);
}

START_TEST(without_descriptors_a_connection_is_closed_and_wakes_nobody_for_ever) {
    const std::string path = path_of(".full");
    Intake intake;
    ck_assert(intake.listen_for_connections(path.c_str()) == Status::ok);
    const Socket peer = connect_to(path, SOCK_STREAM);
    ck_assert(receive_without_descriptors(intake) == Status::system_error);
    ck_assert_int_eq(errno, EMFILE);
    char byte;
    ck_assert_int_eq(recv(peer.fd(), &byte, 1, 0), 0);
    ck_assert(!readable(intake.fd()));
    unlink(path.c_str());
}
END_TEST

START_TEST(without_descriptors_a_server_waits_and_wakes_nobody_for_ever) {
    const std::string path = path_of(".full");
    Intake intake;
    ck_assert(intake.listen_for_handoffs(path.c_str()) == Status::ok);
    const Socket server = connect_to(path, SOCK_SEQPACKET);
    const Socket client = hand_over(server.fd());
    ck_assert(receive_without_descriptors(intake) == Status::system_error);
    ck_assert_int_eq(errno, EMFILE);
    ck_assert(!readable(server.fd()));
    ck_assert(!readable(intake.fd()));
    ck_assert(readable(intake.fd(), 20000));  // after a moment
    Handoff handoff;
    ck_assert(intake.receive(handoff) == Status::ok);
    ck_assert(told(server.fd()) == HandoffKind::hello);
    ck_assert(handoff.head() == request);
    const Socket next = connect_to(path, SOCK_SEQPACKET);
    ck_assert(intake.receive(handoff) == Status::empty);
    ck_assert(told(next.fd()) == HandoffKind::hello);
    unlink(path.c_str());
}
END_TEST

void check_request_without_descriptor(fdworker::Delivery delivery) {
    Pair queue(SOCK_SEQPACKET);
    Intake intake(delivery);
    ck_assert(intake.add(std::move(queue.theirs)) == Status::ok);
    ck_assert(told(queue.ours.fd()) == HandoffKind::hello);
    const Socket client = hand_over(queue.ours.fd());
    ck_assert(receive_without_descriptors(intake) == Status::truncated_fds);
    const HandoffRecord back = told_record(queue.ours.fd());
    ck_assert(back.without_socket() && back.id == 7 && back.data_length == request.size());

    const Socket next = hand_over(queue.ours.fd());
    Handoff handoff;
    ck_assert(!readable(intake.fd()));
    ck_assert(intake.receive(handoff) == Status::empty);
    ck_assert(readable(intake.fd(), 20000));  // after a moment
    ck_assert(intake.receive(handoff) == Status::ok);
    ck_assert(handoff.head() == request);
}

START_TEST(without_descriptors_a_request_goes_back_and_the_queue_rests) {
    check_request_without_descriptor(fdworker::Delivery::single);
    check_request_without_descriptor(fdworker::Delivery::batches);
}
END_TEST

START_TEST(a_queue_that_rests_tells_what_there_is_to_tell) {
    Pair queue(SOCK_SEQPACKET);
    Intake intake;
    ck_assert(intake.add(std::move(queue.theirs)) == Status::ok);
    take_many(intake);
    const Socket client = hand_over(queue.ours.fd());
    ck_assert(receive_without_descriptors(intake) == Status::truncated_fds);
    const Socket next = hand_over(queue.ours.fd());
    const std::size_t told = told_until_silence(intake, queue.ours.fd());
    ck_assert_uint_eq(told, many_notes + 2);  // with hello, and the request that goes back
    ck_assert(readable(intake.fd(), 20000));
    Handoff handoff;
    ck_assert(intake.receive(handoff) == Status::ok);
}
END_TEST

START_TEST(a_queue_that_rests_ends_with_the_drain) {
    Pair queue(SOCK_SEQPACKET);
    Intake intake;
    ck_assert(intake.add(std::move(queue.theirs)) == Status::ok);
    const Socket client = hand_over(queue.ours.fd());
    ck_assert(receive_without_descriptors(intake) == Status::truncated_fds);
    raise(SIGTERM);
    Handoff handoff;
    ck_assert(intake.receive(handoff) == Status::drained);
    const Socket waits = hand_over(queue.ours.fd());  // for a sibling
    ck_assert(!readable(intake.fd(), 1500));          // the rest would be over
}
END_TEST

START_TEST(the_ends_of_queues_that_rest_are_seen_afterwards) {
    Pair queue(SOCK_SEQPACKET), other(SOCK_SEQPACKET);
    dup2(queue.theirs.fd(), 0);
    queue.theirs.close();
    Intake intake;
    ck_assert(intake.add(std::move(other.theirs)) == Status::ok);
    for (const Socket* server : {&queue.ours, &other.ours}) {
        hand_over(server->fd());
        ck_assert(receive_without_descriptors(intake) == Status::truncated_fds);
    }
    queue.ours.close();
    other.ours.close();
    ck_assert(!readable(intake.fd()));
    ck_assert(readable(intake.fd(), 20000));
    Handoff handoff;
    ck_assert(intake.receive(handoff) == Status::drained);
    ck_assert(!readable(intake.fd()));
}
END_TEST

START_TEST(a_queue_rests_until_a_descriptor_is_free) {
    Pair queue(SOCK_SEQPACKET);
    Intake intake;
    ck_assert(intake.add(std::move(queue.theirs)) == Status::ok);
    const Socket client = hand_over(queue.ours.fd());
    ck_assert(receive_without_descriptors(intake) == Status::truncated_fds);
    const Socket next = hand_over(queue.ours.fd());
    Handoff handoff;
    {
        const FewDescriptors none;
        ck_assert(readable(intake.fd(), 20000));  // to look for one
        ck_assert(intake.receive(handoff) == Status::empty);
        ck_assert(!readable(intake.fd()));
    }
    ck_assert(readable(intake.fd(), 20000));
    ck_assert(intake.receive(handoff) == Status::ok);
    ck_assert(handoff.head() == request);
}
END_TEST

START_TEST(the_end_of_a_queue_needs_no_descriptor) {
    Pair queue(SOCK_SEQPACKET);
    dup2(queue.theirs.fd(), 0);
    queue.theirs.close();
    Intake intake;
    const Socket client = hand_over(queue.ours.fd());
    ck_assert(receive_without_descriptors(intake) == Status::truncated_fds);
    queue.ours.close();
    const FewDescriptors none;
    ck_assert(readable(intake.fd(), 20000));
    Handoff handoff;
    ck_assert(intake.receive(handoff) == Status::drained);
}
END_TEST

START_TEST(without_a_descriptor_for_the_memfd_a_request_is_refused) {
    Pair queue(SOCK_SEQPACKET), connection(SOCK_STREAM);
    Intake intake;
    ck_assert(intake.add(std::move(queue.theirs)) == Status::ok);
    ck_assert(told(queue.ours.fd()) == HandoffKind::hello);
    const HandoffRecord record{.flags = handoff_in_memfd | handoff_wants_taken,
                               .id = 7,
                               .head_length = 1,
                               .data_length = 1};
    std::uint8_t header[handoff_header_size];
    encode_handoff(record, header);
    const int fds[] = {connection.theirs.fd(), connection.theirs.fd()};
    ck_assert(send_message(queue.ours.fd(), header, {}, fds) == PassingError::none);
    ck_assert(receive_without_descriptors(intake, 1) == Status::truncated_fds);
    ck_assert(told(queue.ours.fd()) == HandoffKind::taken);
    char start[13];
    ck_assert_int_eq(recv(connection.ours.fd(), start, sizeof start, MSG_DONTWAIT), sizeof start);
    ck_assert(std::string_view(start, sizeof start) == "HTTP/1.1 503 ");
}
END_TEST

}  // namespace

int main() {
    return run_suite(
        "intake without descriptors",
        {without_descriptors_a_connection_is_closed_and_wakes_nobody_for_ever,
         without_descriptors_a_server_waits_and_wakes_nobody_for_ever,
         without_descriptors_a_request_goes_back_and_the_queue_rests,
         a_queue_that_rests_tells_what_there_is_to_tell, a_queue_that_rests_ends_with_the_drain,
         the_ends_of_queues_that_rest_are_seen_afterwards, a_queue_rests_until_a_descriptor_is_free,
         the_end_of_a_queue_needs_no_descriptor,
         without_a_descriptor_for_the_memfd_a_request_is_refused});
}
