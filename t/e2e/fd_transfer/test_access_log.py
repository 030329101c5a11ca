# SPDX-License-Identifier: BSD-3-Clause
"""The access log shows what each client got: its status, its bytes, and one line a request."""
import contextlib
import os
import re
import signal
import time

import pytest

import processes
from service import (HERE, STATUS, counters, fuller, get, read_response, report, request, service,
                     wait_for_counter, workers)

FORMAT = '\\"%r\\" %>s %b'


@pytest.fixture
def start_logging(start, stage):
    """A server whose worker tells how its answers end; the connections are kept until then."""
    def begin(config="", **options):
        options = {"bin_path": str(HERE / "logging_worker.py"), "stage": stage, "taken": "always",
                   "grace": 20, **options}
        server = start(STATUS + service(**options) + config, modules=["mod_status"],
                       accesslog_format=FORMAT)
        wait_for_counter(server, "started", options.get("workers", 1))
        return server
    return begin


def lines_for(server, path):
    """The log's lines for a path, what has been written until now."""
    server.send_signal(signal.SIGHUP)  # which makes lighttpd write its buffer
    time.sleep(0.05)
    text = server.access_log.read_text() if server.access_log.exists() else ""
    return re.findall(rf'^"GET {re.escape(path)} HTTP/1.1" (.*)$', text, re.MULTILINE)


def line_for(server, path):
    server.wait_until(lambda: lines_for(server, path), f"a line for {path}")
    line, = lines_for(server, path)
    return line


@pytest.mark.parametrize("what", ["done", "return"])
@pytest.mark.parametrize("status, size", [(200, 6), (404, 0), (503, 100_000)])
def test_status_and_bytes_are_those_of_the_client(start_logging, what, status, size):
    server = start_logging()
    path = f"/hot/{what}/{status}/{size}"
    with server.connect() as sock:
        sock.sendall(get(path))
        assert read_response(sock)[0] == status
        assert line_for(server, path) == f"{status} {size or '-'}"


def test_a_file_after_a_return_has_its_own_bytes(start_logging):
    server = start_logging()
    (server.root / "style.css").write_text("css")
    with server.connect() as sock:
        for path in ("/hot/return/200/5000", "/style.css", "/hot/return/404/7"):
            sock.sendall(get(path))
            read_response(sock)
    assert line_for(server, "/hot/return/200/5000") == "200 5000"
    assert line_for(server, "/style.css") == "200 3"
    assert line_for(server, "/hot/return/404/7") == "404 7"


def test_a_long_answer_is_logged_when_it_has_ended(start_logging):
    server = start_logging()
    path = "/hot/long/206/1000"
    with server.connect() as sock:
        sock.sendall(get(path))
        wait_for_counter(server, "unlogged", 1)
        server.wait_until(lambda: counters(server)["untaken"] == 0, "the connection to be let go")
        assert not lines_for(server, path)
        os.kill(*workers("logging_worker"), signal.SIGUSR1)
        assert read_response(sock)[0] == 206
    assert line_for(server, path) == "206 1000"
    assert counters(server)["unlogged"] == 0


def test_beyond_the_bound_it_is_logged_when_it_begins(start_logging):
    server = start_logging(workers=2, **{"max-unlogged": 1})
    with server.connect() as one, server.connect() as two:
        one.sendall(get("/hot/long/206/10"))
        wait_for_counter(server, "unlogged", 1)
        two.sendall(get("/hot/long/206/20"))
        assert line_for(server, "/hot/long/206/20") == "200 -"
        for pid in workers("logging_worker"):
            os.kill(pid, signal.SIGUSR1)
        read_response(one)
        assert line_for(server, "/hot/long/206/10") == "206 10"


def test_a_worker_that_dies_within_its_answer(start_logging):
    """Nobody knows what the client got: the line has no bytes."""
    server = start_logging(**{"log-status": 299})
    with server.connect() as sock:
        sock.sendall(get("/hot/die/206/10"))
        wait_for_counter(server, "unlogged", 1)
        os.kill(*workers("logging_worker"), signal.SIGUSR1)
        with pytest.raises(EOFError):
            read_response(sock)
    assert line_for(server, "/hot/die/206/10") == "299 -"


def test_a_worker_that_never_says_how_it_ended(start_logging):
    server = start_logging()
    assert request(server, get("/hot/silent/404/7"))[0] == 404
    wait_for_counter(server, "unlogged", 1)
    assert not lines_for(server, "/hot/silent/404/7")
    os.kill(*workers("logging_worker"), signal.SIGTERM)
    assert line_for(server, "/hot/silent/404/7") == "200 -"


def test_what_comes_back_unanswered_has_one_line(start_logging, tmp_path):
    server = start_logging(workers=2)
    path = f"/hot/x/back/{tmp_path.name}-{os.getpid()}"
    with contextlib.ExitStack() as stack:
        stack.callback(os.unlink, "/tmp/" + path.rpartition("/")[2])
        assert request(server, get(path))[0] == 200
        assert counters(server)["returned"] == 1
        assert line_for(server, path) == "200 6"


def test_repeated_requests_have_one_line(start, stage, tmp_path):
    server = start(STATUS + service(**fuller("close", workers=2, stage=stage, taken="always")),
                   modules=["mod_status"], accesslog_format=FORMAT)
    name = f"{tmp_path.name}-{os.getpid()}"
    path = f"/hot/die-once/{name}"
    wait_for_counter(server, "started", 2)
    try:
        assert request(server, get(path))[0] == 200
    finally:
        os.unlink(f"/tmp/{name}")
    assert counters(server)["repeated"] == 1
    assert line_for(server, path) == "200 -"


def test_workers_that_say_nothing(start, stage):
    server = start(service(stage=stage, **{"log-status": 299}), accesslog_format=FORMAT)
    report(request(server, get("/hot/plain")))
    assert line_for(server, "/hot/plain") == "299 -"


@pytest.mark.parametrize("hello", [False, True])
def test_a_client_that_leaves_before_anybody_took_its_request(start, stage, hello):
    options = fuller("close") if hello else {}
    options |= {"workers": 1, "stage": stage, "queue-bytes": 4608}
    server = start(STATUS + service(**options), modules=["mod_status"], accesslog_format=FORMAT)
    request(server, get("/hot/first"))
    program = "fuller_worker" if hello else "report_worker"
    pid, = workers(program)
    os.kill(pid, signal.SIGSTOP)
    try:
        server.wait_until(lambda: processes.is_stopped(pid), "the worker to stop")
        socks = []
        while not counters(server)["waiting"]:
            socks.append(server.connect())
            socks[-1].sendall(get(f"/hot/{len(socks)}"))
            time.sleep(0.02)
        last = f"/hot/{len(socks)}"
        socks[-1].setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER 0: reset
        socks[-1].close()
        assert line_for(server, last) == "499 -"
    finally:
        os.kill(pid, signal.SIGCONT)
    for sock in socks[:-1]:
        sock.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1, signal.SIGTERM])
def test_what_waits_for_its_end_is_logged_when_the_server_stops(start_logging, number):
    server = start_logging()
    path = "/hot/long/206/10"
    with server.connect() as sock:
        sock.sendall(get(path))
        wait_for_counter(server, "unlogged", 1)
        server.wait_until(lambda: counters(server)["untaken"] == 0, "the connection to be let go")
        pid, = workers("logging_worker")
        if number == signal.SIGUSR1:
            server.reload()
            assert line_for(server, path) == "200 -"
        else:
            server.send_signal(number)
            server.wait_until(lambda: server.process.poll() is not None, "the server's end")
            log = server.access_log.read_text()
            assert f'"GET {path} HTTP/1.1" 200 -\n' in log
        os.kill(pid, signal.SIGUSR1)
        assert read_response(sock)[0] == 206


def test_the_last_request_before_the_end_is_logged(start, stage):
    """lighttpd closes its logs before it asks its modules to end."""
    server = start(service(stage=stage), accesslog_format=FORMAT)
    report(request(server, get("/hot/last")))
    server.stop()
    assert '"GET /hot/last HTTP/1.1" 200 -\n' in server.access_log.read_text()
