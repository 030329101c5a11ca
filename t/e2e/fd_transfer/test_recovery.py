# SPDX-License-Identifier: BSD-3-Clause
"""Nothing lost: what happens to requests whose worker dies."""
import contextlib
import os
import select
import signal
import socket
import time
import uuid

import pytest

import processes
from lighttpd import free_port
from service import (STATUS, counters, fuller, get, read_response, report, request, service,
                     services, wait_for_counter, workers)


@pytest.fixture
def start_fuller(start, stage):
    """A server whose workers speak the fuller protocol, and have said so."""
    def begin(mode="close", config="", **options):
        options = {"workers": 2, "stage": stage, **options}
        server = start(STATUS + service(**fuller(mode, **options)) + config, modules=["mod_status"])
        wait_for_counter(server, "started", options["workers"])
        # The first request may go to a worker that has not said hello yet; the second cannot.
        server.wait_until(lambda: request(server, get("/hot/")) and
                          (now := counters(server)) and now["taken"] + now["returned"],
                          "a worker to speak")
        return server
    return begin


def test_taken_lets_the_connection_go(start_fuller):
    server = start_fuller()
    for _ in range(20):
        assert request(server, get("/hot/"))[0] == 200
    now = server.wait_until(lambda: (c := counters(server))["untaken"] == 0 and c, "no connections kept")
    assert now["taken"] >= 20 and now["repeated"] == 0


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_request_whose_worker_died_is_answered_by_another(start_fuller, method):
    server = start_fuller()
    name = f"die-once-{uuid.uuid4()}"
    try:
        text = get(f"/hot/die-once/{name}").replace(b"GET", method)
        status, _, body = request(server, text)  # the worker sends a body with HEAD too
    finally:
        os.unlink(f"/tmp/{name}")
    assert (status, body[:7]) == (200, b"worker ")
    now = counters(server)
    assert (now["repeated"], now["died"], now["unanswered"]) == (1, 1, 0)
    server.wait_for(r'fd-transfer.server "/hot/": worker \d+ was killed by signal 9')


@pytest.mark.parametrize("head, body", [
    (b"POST /hot/die HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\n", b"hello"),
    (b"POST /hot/die HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n", b""),
    (b"DELETE /hot/die HTTP/1.1\r\nHost: t\r\n\r\n", b"")])
def test_what_must_not_be_repeated_is_502(start_fuller, head, body):
    server = start_fuller()
    status, fields, _ = request(server, head + body)
    assert status == 502 and "Connection: close" in fields
    assert counters(server)["unanswered"] == 1


def test_a_socket_that_a_dead_worker_made_blocking_does_not_stop_the_server(start_fuller, tmp_path):
    """A client does not read, and its socket has taken more or less of what came before the 502."""
    (tmp_path / "502.html").write_bytes(b"x" * 300_000)
    server = start_fuller(config=f'server.errorfile-prefix = "{tmp_path}/"\n', restart_wait=1)
    (server.root / "file").write_bytes(b"x" * 200_000)
    with contextlib.ExitStack() as stack:
        for files in range(100):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", server.port))
            sock.sendall(get("/file") * files + get("/hot/die-blocking").replace(b"GET", b"PUT"))
            try:
                wait_for_counter(server, "unanswered", files + 1, timeout=6)
            except AssertionError:
                break  # this socket has not taken all of the files
    assert 0 < files < 99


def test_a_request_that_kills_every_worker_ends_in_502(start_fuller):
    server = start_fuller()
    assert request(server, get("/hot/die"))[0] == 502
    now = counters(server)
    assert (now["repeated"], now["unanswered"]) == (2, 1)
    assert request(server, get("/hot/"))[0] == 200


def test_an_answer_broken_off_ends_the_connection(start_fuller):
    server = start_fuller()
    with server.connect() as sock:
        sock.sendall(get("/hot/die-half"))
        assert sock.recv(1000) == b"HTTP/1.1 200 OK\r\nCon"
        assert sock.recv(1000) == b""
    assert wait_for_counter(server, "broken-off", 1)["repeated"] == 0


def test_what_waits_in_the_queue_survives_the_workers(start_fuller):
    """Both workers are stopped, requests come, the workers are killed: their successors answer."""
    server = start_fuller()
    # They are known by their command line, which is empty for a moment after execve(2).
    pids = server.wait_until(lambda: len(now := workers()) == 2 and now, "both workers")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    socks = [server.connect() for _ in range(40)]
    for sock in socks:
        sock.sendall(get("/hot/"))
    wait_for_counter(server, "handed-over", 40)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for sock in socks:
        with sock:
            assert read_response(sock)[0] == 200


def test_a_request_finds_no_room_when_its_worker_has_died(start_fuller):
    """The queue is full, others wait: it is sent again later, before them, and each is answered by
    the worker that got it."""
    server = start_fuller(workers=1, queue_bytes=8192)
    with contextlib.ExitStack() as stack:
        first, *others = [stack.enter_context(server.connect()) for _ in range(41)]
        worker = workers()[0]
        before = len(processes.fds(worker))
        first.sendall(get("/hot/pause/2"))
        server.wait_until(lambda: len(processes.fds(worker)) > before, "the worker to have it")
        for sock in others:
            sock.sendall(get("/hot/"))
        wait_for_counter(server, "waiting", 1)
        os.kill(worker, signal.SIGKILL)
        for sock in (first, *others):
            assert read_response(sock)[0] == 200
            assert sock.recv(1) == b""
    now = server.wait_until(lambda: (c := counters(server))["untaken"] == 0 and c, "no connections kept")
    assert (now["repeated"], now["died"], now["unanswered"], now["rejected"]) == (1, 1, 0, 0)


def test_a_stopped_simple_worker_does_not_delay_the_others(start, stage):
    """One that answers request after request, and waits in poll(2) or recvmsg(2) between them."""
    server = start(service(workers=3, stage=stage))
    pids = {report(request(server, get("/hot/")))["pid"] for _ in range(50)}
    stopped = pids.pop()
    os.kill(stopped, signal.SIGSTOP)
    try:
        for _ in range(100):
            assert report(request(server, get("/hot/")))["pid"] != stopped
    finally:
        os.kill(stopped, signal.SIGCONT)


def test_a_stopped_worker_does_not_delay_the_others(start_fuller):
    server = start_fuller()
    pids = {int(request(server, get("/hot/"))[2].split()[1]) for _ in range(50)}
    stopped = pids.pop()
    os.kill(stopped, signal.SIGSTOP)
    try:
        # It may hold one request at most: what it received before it stopped. None was open.
        for _ in range(100):
            assert int(request(server, get("/hot/"))[2].split()[1]) != stopped
    finally:
        os.kill(stopped, signal.SIGCONT)


def test_simple_workers_are_restarted_too(start, stage):
    server = start(STATUS + service(stage=stage, workers=1), modules=["mod_status"])
    pid = report(request(server, get("/hot/")))["pid"]
    for _ in range(3):
        os.kill(pid, signal.SIGKILL)
        server.wait_for(rf"worker {pid} was killed by signal 9")
        pid = report(request(server, get("/hot/")))["pid"]
    assert counters(server)["untaken"] == 0


def test_the_supervisor_is_replaced_when_it_dies(start_fuller):
    server = start_fuller()
    worker = int(request(server, get("/hot/"))[2].split()[1])
    supervisor = processes.parent(worker)
    os.kill(supervisor, signal.SIGKILL)
    server.wait_for("the supervisor of the workers has died")
    server.wait_until(lambda: not processes.alive(worker), "its workers to leave")
    assert request(server, get("/hot/"))[0] == 200


def test_what_a_worker_had_not_claimed_is_repeated_though_the_supervisor_is_dead(start_fuller):
    server = start_fuller()
    name = f"unclaimed-{uuid.uuid4()}"
    try:
        with server.connect() as sock:
            sock.sendall(get(f"/hot/unclaimed/{name}"))
            server.wait_until(lambda: os.path.exists(f"/tmp/{name}"), "a worker to receive it")
            stopped, = server.wait_until(lambda: [w for w in workers() if processes.is_stopped(w)],
                                         "it to stop")
            os.kill(processes.parent(stopped), signal.SIGKILL)
            server.wait_for("the supervisor of the workers has died")
            os.kill(stopped, signal.SIGKILL)
            assert read_response(sock)[0] == 200
    finally:
        os.unlink(f"/tmp/{name}")
    assert counters(server)["repeated"] == 1


def test_a_queue_that_a_worker_shuts_down_is_replaced(start, stage):
    server = start(STATUS + service(**fuller("return", workers=2, stage=stage)),
                   modules=["mod_status"])
    with server.connect() as sock:
        sock.sendall(get("/hot/shut"))
        assert read_response(sock)[0] == 200
    server.wait_for("a worker has shut the queue down")
    assert request(server, get("/hot/"))[0] == 200
    server.wait_until(lambda: counters(server)["workers"] == 2, "two workers")
    cpu = server.cpu()
    for _ in range(20):
        assert request(server, get("/hot/"))[0] == 200
    assert server.cpu() - cpu < 1


def test_what_waits_in_a_queue_that_is_shut_down_is_answered_once(start, stage):
    server = start(STATUS + service(**fuller("return", workers=2, stage=stage, taken="always")) +
                   "server.max-keep-alive-idle = 60\n", modules=["mod_status"])
    wait_for_counter(server, "started", 2)
    urls = "/hot/pause/1/shut", "/hot/pause/1.4/", "/hot/pause/0.5/", "/hot/"
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in urls]
        for number, (client, url) in enumerate(zip(clients, urls)):
            client.sendall(get(url))
            wait_for_counter(server, "untaken", number + 1)
        for client in clients[2:]:
            assert read_response(client)[0] == 200
        ends = time.monotonic() + 3  # as long as workers of the old queue may live
        while left := max(0, ends - time.monotonic()):
            assert not select.select(clients[2:], [], [], left)[0]


def test_two_services_lose_their_queues_at_once(start):
    """In a moment in which the one's has been made anew, and the other's has not."""
    entry = {"bin-path": fuller("return")["bin_path"], "workers": 1, "taken": "always", "grace": 1}
    server = start(STATUS + services({"/hot/": entry, "/warm/": entry}), modules=["mod_status"])
    for prefix in ("/hot/", "/warm/"):
        assert request(server, get(prefix))[0] == 200
    with server.connect() as warm:
        warm.sendall(get("/warm/pause/0.7/shut"))
        assert request(server, get("/hot/shut"))[0] == 200
        server.wait_for("a worker has shut the queue down")
        server.send_signal(signal.SIGSTOP)
        assert read_response(warm)[0] == 200
        time.sleep(1)  # lighttpd's timers come first
        server.send_signal(signal.SIGCONT)
    for prefix in ("/hot/", "/warm/"):
        server.wait_until(lambda p=prefix: request(server, get(p))[0] == 200, "an answer")
    assert "the supervisor of the workers has died" not in server.log_text()


def test_behind_the_proxy_protocol_requests_are_repeated_too(start_lighttpd, stage):
    """Bytes of the connection that come before the first request are not lighttpd's to count."""
    port = free_port()
    server = start_lighttpd(
        STATUS + service(**fuller("close", stage=stage, taken="always")) +
        f'$SERVER["socket"] == "127.0.0.1:{port}" {{\n'
        'extforward.forwarder = ( "all" => "trust" )\nextforward.hap-PROXY = "enable"\n}\n',
        modules=["mod_extforward", "mod_status", "mod_fd_transfer"])
    wait_for_counter(server, "started", 1)
    name = f"die-once-{uuid.uuid4()}"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
            sock.sendall(b"PROXY TCP4 10.0.0.1 10.0.0.2 1000 80\r\n" + get(f"/hot/die-once/{name}"))
            assert read_response(sock)[0] == 200
    finally:
        os.unlink(f"/tmp/{name}")
    wait_for_counter(server, "taken", 1)  # the connection has ended; mod_extforward leaks open ones


def test_a_client_that_leaves_costs_nothing(start_fuller):
    server = start_fuller()
    before = len(server.fds())
    for _ in range(20):
        with server.connect() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.sendall(get("/hot/pause/0.01"))
    server.wait_until(lambda: counters(server)["untaken"] == 0, "no connections kept")
    server.wait_until(lambda: len(server.fds()) <= before, "no descriptors left over")
