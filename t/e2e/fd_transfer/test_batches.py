# SPDX-License-Identifier: BSD-3-Clause
"""What one turn of lighttpd's event loop brings is handed over at its end: one by one, or in one
message to workers that like that. None of them is lost, whatever becomes of the message."""
import contextlib
import os
import pathlib
import re
import signal
import uuid

import lighttpd
import processes
import pytest

from service import (STATUS, counters, fuller, get, read_response, request, service,
                     wait_for_counter, workers)


@contextlib.contextmanager
def one_turn(server):
    """What clients send meanwhile, lighttpd reads in one turn of its event loop."""
    server.wait_until(lambda: processes.sleeps(server.pid), "lighttpd to have nothing to do")
    os.kill(server.pid, signal.SIGSTOP)
    try:
        server.wait_until(lambda: processes.is_stopped(server.pid), "lighttpd to be stopped")
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@contextlib.contextmanager
def clients_of(server, count):
    """Connections that have been accepted."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(count)]
        for client in clients:
            client.sendall(get("/style.css"))
            assert read_response(client)[2] == b"css"
        yield clients


@pytest.fixture
def start_traced(make, stage, tmp_path):
    """A server whose sendmsg() and writev() are seen: begin() starts it, calls() ends it, and tells
    how many sockets each call of the last `count` hand-offs and answers carried; 0: an answer."""
    trace = tmp_path / "trace"

    def begin(mode, config="", **options):
        server = make(config + service(**fuller(mode, stage=stage, taken="always", **options)))
        (server.root / "style.css").write_text("css")
        server.start(wrapper=("strace", "-D", "-o", str(trace), "-e", "trace=sendmsg,writev",
                              "-e", "signal=none"))
        assert request(server, get("/hot/"))[0] == 200  # its worker has said hello
        return server

    def calls(server, count):
        server.stop()
        rights = re.compile(r"SCM_RIGHTS, cmsg_data=\[([^]]*)\]")
        sockets = [len(found[1].split(",")) if (found := rights.search(line)) else 0
                   for line in trace.read_text().splitlines()
                   if line.startswith("writev") or "SCM_RIGHTS" in line]
        return sockets[-count:]
    return begin, calls


@pytest.mark.parametrize("mode, workers, sockets", [
    ("close", 1, [1, 1, 1, 1]),
    ("close undecided", 1, [1, 1, 1, 1]),
    ("close batches", 1, [4]),
    ("return batches", 1, [4]),
    ("close batches", 2, [2, 2]),
    ("close batches", 3, [2, 2]),
    ("close batches", 4, [1, 1, 1, 1]),
])
def test_requests_of_one_turn_are_handed_over_together(start_traced, mode, workers, sockets):
    """What lighttpd answers itself comes first; then hand-off follows hand-off, so that a worker is
    woken once for all of them. In batches, each worker gets its share."""
    begin, calls = start_traced
    server = begin(mode, workers=workers)
    with clients_of(server, 8) as clients:
        with one_turn(server):
            for number, client in enumerate(clients):
                client.sendall(get("/hot/" if number % 2 else "/style.css"))
        for client in clients:
            assert read_response(client)[0] == 200
    expected = [0] * 4 + sockets
    assert calls(server, len(expected)) == expected


def test_what_is_too_many_for_one_message_goes_in_several(start_traced):
    begin, calls = start_traced
    server = begin("close batches", workers=1)
    with clients_of(server, 70) as clients:
        with one_turn(server):
            for client in clients:
                client.sendall(get("/hot/"))
        for client in clients:
            assert read_response(client)[0] == 200
    messages = [sockets for sockets in calls(server, 1000) if sockets][1:]
    # lighttpd may see the last of them in its next turn.
    assert sum(messages) == 70 and max(messages) == 32 and len(messages) < 7, messages


def test_what_is_too_long_for_one_message_goes_in_several(start_traced):
    begin, calls = start_traced
    server = begin("close batches", "server.max-request-field-size = 60000\n", workers=1)
    with clients_of(server, 5) as clients:
        with one_turn(server):
            for client in clients:
                client.sendall(get("/hot/", "X: " + "x" * 30_000))
        for client in clients:
            assert read_response(client)[0] == 200
    assert sorted(calls(server, 3)) == [1, 2, 2]


def start_with(start, mode, stage, **options):
    server = start(STATUS + service(**fuller(mode, stage=stage, taken="always", **options)),
                   modules=["mod_status"])
    (server.root / "style.css").write_text("css")
    assert request(server, get("/hot/"))[0] == 200
    return server


@pytest.mark.parametrize("mode", ["close batches", "return batches"])
@pytest.mark.parametrize("victim", range(4))
def test_a_worker_dies_with_several_in_hand(start, stage, mode, victim):
    """Some are answered and not told yet, one kills, the rest have not been looked at."""
    server = start_with(start, mode, stage, workers=1)
    name = f"fdt-{uuid.uuid4()}"
    with clients_of(server, 4) as clients:
        with one_turn(server):
            for number, client in enumerate(clients):
                path = f"/hot/die-once/{name}" if number == victim else "/hot/"
                client.sendall(get(path))
        for client in clients:
            assert read_response(client)[0] == 200
    os.unlink(f"/tmp/{name}")
    now = server.wait_until(lambda: (c := counters(server))["untaken"] == 0 and c, "none kept")
    # lighttpd may have looked at its clients in any order.
    assert 1 <= now["repeated"] <= 4 and now["died"] == 1
    assert (now["unanswered"], now["broken-off"], now["rejected"]) == (0, 0, 0)


@pytest.mark.parametrize("victim", range(4))
def test_what_may_not_be_repeated_does_not_share_the_fate_of_others(start, stage, victim):
    """A worker dies with a GET in hand; what others have posted waits in the queue."""
    server = start_with(start, "close batches", stage, workers=1)
    name = f"fdt-{uuid.uuid4()}"
    post = b"POST /hot/ HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nbody"
    with clients_of(server, 8) as clients:
        with one_turn(server):
            for number, client in enumerate(clients):
                path = f"/hot/die-once/{name}" if number == 2 * victim else "/hot/"
                client.sendall(post if number % 2 else get(path))
        for client in clients:
            assert read_response(client)[0] == 200
    os.unlink(f"/tmp/{name}")
    now = counters(server)
    assert (now["died"], now["unanswered"], now["broken-off"]) == (1, 0, 0)


@pytest.mark.parametrize("fields", [[], ["Connection: close"]])
def test_sockets_that_find_no_descriptor_come_again(start, stage, fields):
    """The worker, on libfdworker, may have fewer descriptors than come in one message."""
    program = pathlib.Path(lighttpd.required_path("FDWORKER_SAMPLES")) / "epoll_worker"
    limit = 30
    server = start(STATUS + service(bin_path=str(program), stage=stage, workers=1, taken="always",
                                    limits={"nofile": limit}), modules=["mod_status"])
    (server.root / "style.css").write_text("css")
    with server.connect() as client:
        client.sendall(get("/hot/", "Connection: close"))
        assert read_response(client)[0] == 200
    with clients_of(server, limit + 1) as clients:
        with one_turn(server):
            for client in clients:
                # What follows is not the worker's: it returns the connection.
                client.sendall(get("/hot/", *fields) + (b"" if fields else get("/style.css")))
        for client in clients:
            assert read_response(client)[0] == 200
    now = server.wait_until(lambda: (c := counters(server))["untaken"] == 0 and c, "none kept")
    assert now["died"] == 0 and now["returned"] > 1
    assert "RLIMIT_NOFILE" in server.output.read_text()


def test_clients_leave_before_and_after_they_are_handed_over(start, stage):
    server = start_with(start, "return batches", stage, workers=1)
    server.wait_for_no_client()
    fds = len(server.fds())
    for reset in (False, True):
        with clients_of(server, 6) as clients:
            with one_turn(server):
                for client in clients:
                    client.sendall(get("/hot/pause/0.2"))
                if reset:
                    for client in clients[::2]:
                        client.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: RST
                for client in clients[::2]:
                    client.close()
            for client in clients[1::2]:
                assert read_response(client)[0] == 200
    now = server.wait_until(lambda: (c := counters(server))["untaken"] == 0 and c, "none kept")
    assert (now["died"], now["unanswered"], now["broken-off"]) == (0, 0, 0)
    server.wait_until(lambda: len(server.fds()) <= fds, "no descriptors left over")


def test_a_full_queue_makes_them_wait(start, stage):
    server = start_with(start, "close batches", stage, workers=1, queue_bytes=4096)
    with clients_of(server, 60) as clients:
        worker, = workers()
        os.kill(worker, signal.SIGSTOP)
        try:
            with one_turn(server):
                for client in clients:
                    client.sendall(get("/hot/", "X: " + "x" * 500))
            wait_for_counter(server, "waiting", 1)
        finally:
            os.kill(worker, signal.SIGCONT)
        for client in clients:
            assert read_response(client)[0] == 200
    now = server.wait_until(lambda: (c := counters(server))["untaken"] == 0 and c, "none kept")
    assert now["handed-over"] == 61 and now["refused"] == 0


def test_no_more_are_kept_than_allowed(start, stage):
    """What exceeds max-untaken is handed over too, unprotected."""
    server = start_with(start, "close batches", stage, workers=1, max_untaken=3)
    with clients_of(server, 10) as clients:
        with one_turn(server):
            for client in clients:
                client.sendall(get("/hot/pause/0.1"))
        seen = wait_for_counter(server, "untaken", 1)["untaken"]
        assert seen <= 3
        for client in clients:
            assert read_response(client)[0] == 200
