# SPDX-License-Identifier: BSD-3-Clause
"""A full queue: requests wait in their order, and not for ever. lighttpd never blocks."""
import os
import select
import signal
import time

import pytest

from service import (REPORT, STATUS, counters, fuller, get, read_response, report, request, service,
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
    with socks[-1] as last:
        status, head, _ = read_response(last)
        assert status == 503 and "Retry-After: 5" in head
    go()
    with socks[0] as first:
        assert read_response(first)[0] == 200
    for sock in socks[1:-1]:
        sock.close()


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
    now = wait_for_counter(server, "refused", 1)
    for sock in select.select(socks, [], [], 10)[0]:
        assert read_response(sock)[0] == 503
    assert now["handed-over"] > 0
    for sock in socks:
        sock.close()


def test_workers_that_exit_at_once_are_started_ever_more_slowly(start):
    server = start(STATUS + service(bin_path="/bin/false"), modules=["mod_status"])
    server.wait_for(r"worker \d+ exited with status 1")
    time.sleep(2)  # how often it happens in this time is the test
    assert 3 < counters(server)["died"] < 20


def test_workers_start_on_demand(start, stage):
    server = start(STATUS + service(start="demand", stage=stage), modules=["mod_status"])
    assert counters(server)["started"] == 0 and not workers("report_worker")
    report(request(server, get("/hot/")))
    assert counters(server)["started"] == 1


def test_environment_directory_and_limits_reach_the_worker(start, tmp_path):
    script = tmp_path / "show"
    script.write_text("#!/bin/sh\n(echo args $*; echo dir $(pwd); echo files $(ulimit -n); env) "
                      f">{tmp_path}/seen.new; mv {tmp_path}/seen.new {tmp_path}/seen; sleep 100\n")
    script.chmod(0o755)
    server = start(service(bin_path=f"{script} one two", limits={"nofile": 77},
                           **{"bin-environment": {"COLOUR": "red", "PATH": "/bin"},
                              "bin-copy-environment": ["HOME"], "working-directory": "/usr"}),
                   environment={"HOME": "/home/me", "SECRET": "x"})
    seen = server.wait_until(lambda: (tmp_path / "seen").exists()
                             and (tmp_path / "seen").read_text(), "the worker")
    for line in ("args one two", "dir /usr", "files 77", "COLOUR=red", "HOME=/home/me"):
        assert f"{line}\n" in seen
    assert "SECRET" not in seen


def test_server_max_worker(start, stage):
    """Each of lighttpd's own worker processes has its queue and its pool."""
    server = start("server.max-worker = 2\n" + service(stage=stage))
    server.wait_until(lambda: len(workers("report_worker")) == 2, "two pools")
    for _ in range(20):
        report(request(server, get("/hot/")))
