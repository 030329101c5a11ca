# SPDX-License-Identifier: BSD-3-Clause
"""A full queue: requests wait in their order, and not for ever. lighttpd never blocks."""
import os
import signal
import time

import pytest

from service import (STATUS, counters, get, read_response, report, request, service,
                     wait_for_counter, workers)


@pytest.fixture
def start_stopped(start, stage):
    """A server with one stopped worker and a short queue. (server, go): go() continues it."""
    running = []

    def begin(**options):
        options = {"stage": stage, "workers": 1, "queue-bytes": 4608, **options}
        server = start(STATUS + service(**options), modules=["mod_status"])
        report(request(server, get("/hot/")))
        pid, = workers("report_worker")
        os.kill(pid, signal.SIGSTOP)
        running.append(pid)
        return server, lambda: os.kill(pid, signal.SIGCONT)
    yield begin
    for pid in running:
        os.kill(pid, signal.SIGCONT)


def send_many(server, count, path="/hot/"):
    socks = []
    for number in range(count):
        socks.append(server.connect())
        socks[-1].sendall(get(f"{path}{number}"))
        wait_for_counter_sum(server, number + 2)  # so that they come in this order
    return socks


def wait_for_counter_sum(server, value):
    server.wait_until(lambda: (c := counters(server))["handed-over"] + c["waiting"] >= value,
                      "requests to arrive")


def test_requests_wait_until_there_is_room_again(start_stopped):
    server, go = start_stopped()
    socks = send_many(server, 60)
    now = counters(server)
    assert now["waiting"] > 0 and now["refused"] == 0, now
    go()
    ids = []
    for number, sock in enumerate(socks):
        with sock:
            seen = report(read_response(sock))
            assert seen["head"].startswith(f"GET /hot/{number} ")
            ids.append(seen["id"])
    assert ids == sorted(ids)
    assert counters(server)["waiting"] == 0


def test_a_waiting_body_stays_whole(start_stopped):
    server, go = start_stopped()
    socks = send_many(server, 40)
    assert counters(server)["waiting"] > 0
    body = b"x" * 300_000
    with server.connect() as sock:
        sock.sendall(b"POST /hot/ HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % len(body))
        sock.sendall(body)
        wait_for_counter_sum(server, 42)
        go()
        assert report(read_response(sock))["body"] == len(body)
    for sock in socks:
        sock.close()


def test_a_full_backlog_is_503_at_once(start_stopped):
    server, go = start_stopped(backlog=5, **{"retry-after": 7})
    socks = [server.connect() for _ in range(60)]
    for sock in socks:
        sock.sendall(get("/hot/"))
    now = wait_for_counter(server, "refused", 1)
    assert now["waiting"] == 5
    status, head, _ = request(server, get("/hot/"))
    assert status == 503 and "\r\nRetry-After: 7" in head
    go()
    answers = [read_response(sock)[0] for sock in socks]
    assert answers.count(503) == counters(server)["refused"] - 1
    assert set(answers) == {200, 503}
    for sock in socks:
        sock.close()


def test_the_deadline_ends_in_503_and_others_are_served_meanwhile(start_stopped):
    server, go = start_stopped(deadline=1)
    (server.root / "page.txt").write_text("page")
    socks = send_many(server, 60)
    assert counters(server)["waiting"] > 0
    began = time.monotonic()
    assert request(server, get("/page.txt"))[2] == b"page"
    assert time.monotonic() - began < 1
    for sock in socks:  # those in the queue, which no worker has received, as those behind it
        with sock:
            status, head, _ = read_response(sock)
            assert status == 503 and "Retry-After: 5" in head
            assert sock.recv(1) == b""
    assert counters(server)["refused"] == len(socks)
    go()
    report(request(server, get("/hot/")))


def test_a_client_that_leaves_the_backlog_is_forgotten(start_stopped):
    server, go = start_stopped()
    socks = send_many(server, 40)
    waiting = counters(server)["waiting"]
    assert waiting > 0
    for sock in socks:
        sock.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER 0: reset
        sock.close()
    server.wait_until(lambda: counters(server)["waiting"] == 0, "the backlog to empty")
    go()
    report(request(server, get("/hot/")))


def test_workers_that_never_receive_end_in_503(start, stage):
    server = start(STATUS + service(bin_path="/bin/sleep 1000", deadline=1, stage=stage,
                                    **{"queue-bytes": 4608}), modules=["mod_status"])
    socks = [server.connect() for _ in range(40)]
    for sock in socks:
        sock.sendall(get("/hot/"))
    for sock in socks:
        with sock:
            assert read_response(sock)[0] == 503
    now = counters(server)
    assert (now["handed-over"] > 0, now["refused"]) == (True, len(socks))


def test_a_request_larger_than_the_queue_is_handed_over(start, stage):
    """No message of this size fits a queue of this size; the data travel beside it."""
    server = start("server.max-request-field-size = 65535\n"
                   + service(stage=stage, **{"queue-bytes": 4608}))
    seen = report(request(server, get("/hot/", *(f"X-{i}: {'v' * 1000}" for i in range(20)))))
    assert seen["flags"] & 1 and seen["head"].count("v" * 1000) == 20


def test_sockets_that_the_kernel_will_not_pass_on_wait(make, stage, tmp_path):
    """ETOOMANYREFS: too many descriptors of this user are in flight. Tried again each second, not
    without end, though the queue has room."""
    server = make(service(stage=stage))
    server.start(wrapper=("strace", "-D", "-o", str(tmp_path / "trace"), "-e", "trace=sendmsg",
                          "-e", "inject=sendmsg:error=ETOOMANYREFS:when=1..2", "-e", "signal=none"))
    before = server.cpu()
    report(request(server, get("/hot/")))
    assert server.cpu() - before < 0.5  # seconds; the request took more than one
    server.wait_for(r'fd-transfer.server "/hot/": the kernel refuses .*: Too many references')
    server.stop()
    assert (tmp_path / "trace").read_text().count("sendmsg(") == 3
