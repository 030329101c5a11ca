// SPDX-License-Identifier: BSD-3-Clause
// First come, first served; no more than a set number; none longer than a set time.
#include "mod_fd_transfer/backlog.h"

#include "suite.h"

using Backlog = fd_transfer::Backlog<int>;

START_TEST(requests_leave_in_the_order_they_came) {
    Backlog backlog(3, 10);
    int requests[3];
    Backlog::Place places[3];
    for (int i = 0; i < 3; ++i) places[i] = backlog.append(&requests[i], i);
    for (int i = 0; i < 3; ++i) {
        ck_assert_ptr_eq(backlog.first(), &requests[i]);
        backlog.remove(places[i]);
    }
    ck_assert(backlog.empty());
    ck_assert_ptr_null(backlog.first());
}
END_TEST

START_TEST(a_request_in_the_middle_may_leave) {
    Backlog backlog(3, 10);
    int requests[3];
    backlog.append(&requests[0], 0);
    const Backlog::Place middle = backlog.append(&requests[1], 0);
    backlog.append(&requests[2], 0);
    backlog.remove(middle);
    ck_assert_uint_eq(backlog.size(), 2);
    ck_assert_ptr_eq(backlog.first(), &requests[0]);
}
END_TEST

START_TEST(it_is_full_at_its_capacity) {
    Backlog backlog(2, 10);
    int request;
    ck_assert(!backlog.full());
    backlog.append(&request, 0);
    ck_assert(!backlog.full());
    backlog.append(&request, 0);
    ck_assert(backlog.full());
    ck_assert(Backlog(0, 10).full());
}
END_TEST

START_TEST(a_request_is_late_at_its_deadline_and_not_before) {
    Backlog backlog(2, 10);
    int early, later;
    ck_assert_ptr_null(backlog.late(1000));
    const Backlog::Place place = backlog.append(&early, 100);
    backlog.append(&later, 105);
    ck_assert_ptr_null(backlog.late(109));
    ck_assert_ptr_eq(backlog.late(110), &early);
    backlog.remove(place);
    ck_assert_ptr_null(backlog.late(114));
    ck_assert_ptr_eq(backlog.late(115), &later);
}
END_TEST

int main() {
    return run_suite(
        "backlog", {requests_leave_in_the_order_they_came, a_request_in_the_middle_may_leave,
                    it_is_full_at_its_capacity, a_request_is_late_at_its_deadline_and_not_before});
}
