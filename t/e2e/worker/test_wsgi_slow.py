# SPDX-License-Identifier: BSD-3-Clause
"""Slow and large clients of the WSGI runner: none holds a thread, each has its limit, and a worker
that is to end ends."""
import re
import select
import socket
import subprocess
import time

import pytest

import fronts
from wsgi_worker import ask, command, connect, exchange, get, read_all

UPLOAD = get("echo", "Content-Length: 1000", method="POST")


@pytest.fixture(params=["cat", "lighttpd-uri"])
def start(request, tmp_path, make_lighttpd):
    """start(options): one process of the runner behind this front."""
    started = []

    def begin(*options, workers=1):
        if request.param == "cat":
            one = fronts.Cat(tmp_path, command(*options), workers=workers)
        else:
            one = fronts.Lighttpd(make_lighttpd, "uri", command(*options), workers=workers)
        started.append(one)
        return one
    yield begin
    for one in started:
        one.stop()


@pytest.fixture
def cat(tmp_path):
    """The same, with fdworker-cat only."""
    started = []

    def begin(*options):
        started.append(fronts.Cat(tmp_path, command(*options), workers=1))
        return started[-1]
    yield begin
    for one in started:
        one.stop()


def status(answer):
    return [int(code) for code in re.findall(rb"HTTP/1.1 (\d+) ", answer)]


def slow_uploads(one, count):
    """Clients whose bodies have begun and are in the worker's hands."""
    clients = [connect(one, UPLOAD + b"x") for _ in range(count)]
    fronts.wait_until(lambda: sum(map(fronts.clients_held, one.worker_pids())) == count, "the uploads")
    return clients


def test_uploads_that_trickle_hold_no_thread(start):
    one = start("--threads", 2, workers=2)
    clients = slow_uploads(one, 40)
    for _ in range(20):
        assert ask(one.port, "GET", "several")[0] == 200
    for client in clients[:3]:
        client.sendall(b"x" * 999)
        assert status(read_all(client)) == [200]
    for client in clients:
        client.close()


def test_an_upload_that_trickles_has_its_limit_in_time(cat):
    one = cat("--request-time", 1.5, "--read-idle", 60)
    with connect(one, UPLOAD) as client:
        while not select.select([client], [], [], 0.1)[0]:
            client.sendall(b"x")
        assert status(client.recv(1000)) == [408]


def test_an_upload_that_rests_has_its_limit(cat):
    one = cat("--read-idle", 1)
    assert status(exchange(one, UPLOAD + b"x")) == [408]


def test_sigterm_is_obeyed_though_uploads_trickle(start):
    one = start("--grace", 1, "--threads", 2)
    [worker] = one.worker_pids()
    clients = slow_uploads(one, 9)
    fronts.terminate(worker)
    fronts.wait_until(lambda: worker in one.worker_statuses(), "the worker's end", 20)
    assert one.worker_statuses()[worker] == 0
    for client in clients:
        client.close()


def test_sigterm_is_obeyed_though_threads_are_at_work(cat):
    one = cat("--grace", 1, "--threads", 2)
    [worker] = one.worker_pids()
    clients = [connect(one, get("threads?ms=60000")) for _ in range(3)]
    fronts.wait_until(lambda: fronts.clients_held(worker) == 2, "the requests")
    fronts.terminate(worker)
    fronts.wait_until(lambda: worker in one.worker_statuses(), "the worker's end", 20)
    assert one.worker_statuses()[worker] == 0
    for client in clients[:2]:
        assert read_all(client) == b""
    clients[2].close()


def test_an_upload_is_completed_within_the_grace(start):
    one = start()
    [worker] = one.worker_pids()
    [client] = slow_uploads(one, 1)
    fronts.terminate(worker)
    fronts.wait_until(lambda: fronts.has_taken_sigterm(worker), "SIGTERM")
    client.sendall(b"x" * 999)
    assert status(read_all(client)) == [200]
    fronts.wait_until(lambda: worker in one.worker_statuses(), "the worker's end")


def test_clients_that_do_not_read_hold_no_thread(start):
    """20 MB for each of 10, and 2 threads."""
    one = start("--threads", 2)
    clients = [connect(one, get("size?n=20000000")) for _ in range(10)]
    for client in clients:
        assert client.recv(12) == b"HTTP/1.1 200"
    assert ask(one.port, "GET", "several")[0] == 200
    for client in clients[:2]:
        assert len(read_all(client).partition(b"\r\n\r\n")[2].replace(b"\r\n", b"")) > 20_000_000
    for client in clients:
        client.close()
    assert ask(one.port, "GET", "several")[0] == 200


def test_a_client_that_does_not_read_has_its_limit(cat):
    one = cat("--write-idle", 1)
    [worker] = one.worker_pids()
    with connect(one, get("size?n=20000000")) as client:
        assert client.recv(1)
        fronts.wait_until(lambda: not fronts.clients_held(worker), "the connection's end")


@pytest.mark.parametrize("path", ["size?n=20000000", "file"])
def test_without_room_an_application_waits_and_its_answer_is_whole(cat, path):
    one = cat("--response-memory", 0, "--response-disk", 100_000, "--threads", 2)
    answers = [ask(one.port, "GET", path) for _ in range(3)]
    assert all(whole and len(body) in (20_000_000, 999_990) for _, _, body, whole in answers)


def test_an_application_that_waits_for_its_client_waits_no_longer_than_write_idle(cat):
    one = cat("--response-memory", 0, "--response-disk", 100_000, "--threads", 1, "--write-idle", 1)
    with connect(one, get("size?n=20000000")) as client:
        assert client.recv(1)
        assert ask(one.port, "GET", "several")[0] == 200


def test_memory_stays_small_though_clients_do_not_read(cat):
    one = cat()
    [worker] = one.worker_pids()
    ask(one.port, "GET", "several")
    with connect(one, get("size?n=300000000")) as client:
        assert client.recv(1)
        assert ask(one.port, "GET", "threads")[0] == 200
        peak = int(re.search(r"VmHWM:\s*(\d+) kB", open(f"/proc/{worker}/status").read())[1])
        assert peak < 100_000
        assert len(read_all(client)) > 300_000_000


@pytest.mark.parametrize("options, sizes", [
    (("--body-max", 10), {10: 200, 11: 413}), (("--body-max", 0), {0: 200, 1: 413}),
    (("--body-memory", 0), {100_000: 200})])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_have_a_bound(cat, options, sizes, chunked):
    one = cat(*options)
    for size, expected in sizes.items():
        body = b"x" * size
        found = ask(one.port, "POST", "echo", iter([body] if body else []) if chunked else body)
        assert found[0] == expected
        assert expected != 200 or found[2] == body


def test_connections_have_a_bound_and_siblings_take_the_rest(start):
    one = start("--connections", 5, workers=2)
    fronts.wait_until(lambda: len(one.worker_pids()) == 2, "both workers")
    clients = [connect(one, UPLOAD + b"x") for _ in range(10)]
    fronts.wait_until(lambda: all(fronts.clients_held(p) == 5 for p in one.worker_pids()), "five each")
    with connect(one, get("several")) as late:
        for client in clients[:1]:
            client.sendall(b"x" * 999)
            assert status(read_all(client)) == [200]
        assert status(late.recv(1000)) == [200]
    for client in clients:
        client.close()
    assert ask(one.port, "GET", "several")[0] == 200


def test_what_is_long_at_work_is_said_to_be_taken(tmp_path):
    """lighttpd answers 503 itself after its taken-timeout: here the worker says that it lives."""
    for arguments in (command("--threads", 1),
                      [fronts.sys.executable, "-c",
                       "import fdworker, time\nfdworker.serve(lambda handoff: time.sleep(20), threads=1)"]):
        ours, queue = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, queue, subprocess.Popen(arguments, stdin=queue, env=fronts.ENVIRONMENT) as worker:
            try:
                ours.settimeout(20)
                assert ours.recv(100)[5] == 2  # hello
                listener = socket.create_server(("127.0.0.1", 0))
                with listener, socket.create_connection(listener.getsockname()) as client:
                    request = get("threads?ms=60000")
                    accepted = listener.accept()[0]
                    accepted.setblocking(False)
                    size = len(request).to_bytes(4, "little")
                    record = b"LFDT\2\1\4\0" + (7).to_bytes(8, "little") + bytes(4) + size * 2 + bytes(4)
                    socket.send_fds(ours, [record + request], [accepted.fileno()])
                    began = time.monotonic()
                    note = ours.recv(100)
                    assert (note[5], note[8]) == (3, 7)  # taken
                    assert 4 < time.monotonic() - began < 10
                    client.setblocking(False)
                    with pytest.raises(BlockingIOError):
                        client.recv(1)
            finally:
                worker.kill()


def test_the_end_of_an_answer_is_said_with_status_and_bytes(tmp_path):
    ours, queue = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, queue, subprocess.Popen(command("--threads", 1), stdin=queue) as worker:
        try:
            ours.settimeout(20)
            ours.recv(100)
            listener = socket.create_server(("127.0.0.1", 0))
            for path, fields, expected in (
                    ("several", (), (200, 2)), ("none", (), (500, 22)), ("no_content", (), (204, 0)),
                    ("echo", ("Content-Length: x",), (400, 16)),
                    ("variables", ("Content_Length: 1",), (400, 16))):
                with socket.create_connection(listener.getsockname()) as client:
                    accepted = listener.accept()[0]
                    accepted.setblocking(False)
                    request = get(path, *fields)
                    size = len(request).to_bytes(4, "little")
                    record = b"LFDT\2\1\4\0" + (7).to_bytes(8, "little") + bytes(4) + size * 2 + bytes(4)
                    with accepted:
                        socket.send_fds(ours, [record + request], [accepted.fileno()])
                    note = ours.recv(200)
                    assert note[5] in (4, 5), note
                    fields = note[32:]
                    found = (int.from_bytes(fields[4:6], "little"), int.from_bytes(fields[10:18], "little"))
                    assert found == expected
                    if note[5] == 5:
                        assert len(read_all(client).partition(b"\r\n\r\n")[2]) == expected[1]
            listener.close()
        finally:
            worker.kill()
