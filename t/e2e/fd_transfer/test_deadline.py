# SPDX-License-Identifier: BSD-3-Clause
"""Nobody waits for ever, whatever workers do, and nobody gets two answers."""
import contextlib
import os
import signal
import socket
import time

import pytest

import processes
from service import (HERE, STATUS, counters, fuller, get, read_response, report, request, service,
                     wait_for_counter, workers)

HELLO_AND_EXIT = """\
#!/usr/bin/python3
import socket, struct
queue = socket.socket(fileno=0)
queue.send(struct.pack("<4sBBHQIIII", b"LFDT", 2, 2, 0, 0, 0, 0, 0, 0))
"""
HELLO_AND_SLEEP = HELLO_AND_EXIT + "import time\ntime.sleep(1000)\n"


@pytest.fixture
def program(tmp_path):
    """program(text): the path of an executable file with that text."""
    def make(text):
        path = tmp_path / "worker.py"
        path.write_text(text)
        path.chmod(0o755)
        return str(path)
    return make


def refused(sock):
    """The answer is a 503. If a worker may have the connection too, it ends with that."""
    status, head, _ = read_response(sock)
    assert status == 503 and "Retry-After: 5" in head
    if "Connection: close" in head:
        assert sock.recv(1) == b""
    return True


def refused_for_good(sock):
    status, head, _ = read_response(sock)
    assert (status, sock.recv(1)) == (503, b"") and "Retry-After: 5" in head
    return True


def ask(server, count, path="/hot/"):
    socks = [server.connect() for _ in range(count)]
    for sock in socks:
        sock.sendall(get(path))
    return socks


def worker_named(name, program):
    texts = {"exits": HELLO_AND_EXIT, "says hello and sleeps": HELLO_AND_SLEEP}
    return program(texts[name]) if name in texts else name


@pytest.mark.parametrize("name", ["/bin/false", "exits"])
def test_workers_that_end_at_once(start, stage, program, name):
    """Nobody waits for a deadline of 10 seconds, and the log tells the truth."""
    server = start(STATUS + service(bin_path=worker_named(name, program), workers=2,
                                    stage=stage), modules=["mod_status"])
    server.wait_for("worker .* exited")
    began = time.monotonic()
    for sock in ask(server, 300):
        with sock:
            assert refused(sock)
    assert time.monotonic() - began < 8
    assert counters(server)["refused"] == 300
    server.send_signal(signal.SIGHUP)
    server.wait_until(lambda: server.access_log.read_text().count('"GET /hot/ HTTP/1.1" 503 ')
                      == 300, "the log's lines")
    assert '"GET /hot/ HTTP/1.1" 200' not in server.access_log.read_text()


@pytest.mark.parametrize("name", ["/bin/sleep 1000", "says hello and sleeps"])
def test_workers_that_never_receive(start, stage, program, name):
    server = start(STATUS + service(bin_path=worker_named(name, program), stage=stage,
                                    deadline=1), modules=["mod_status"])
    wait_for_counter(server, "started", 1)
    began = time.monotonic()
    for sock in ask(server, 30):
        with sock:
            assert refused(sock)
    assert 0.5 < time.monotonic() - began < 6
    now = counters(server)
    assert (now["refused"], now["untaken"], now["waiting"]) == (30, 0, 0)
    server.send_signal(signal.SIGHUP)
    server.wait_until(lambda: server.access_log.read_text().count('"GET /hot/ HTTP/1.1" 503 ')
                      == 30, "the log's lines")


def test_a_service_that_was_down_serves_again(start, stage, tmp_path):
    """Its program fails until a file is there."""
    path = tmp_path / "worker.sh"
    path.write_text(f"#!/bin/sh\n[ -e {tmp_path}/ready ] || exit 1\n"
                    f"exec {HERE / 'report_worker.py'}\n")
    path.chmod(0o755)
    server = start(service(bin_path=str(path), stage=stage, grace=1, **{"restart-wait": 1}))
    server.wait_until(lambda: request(server, get("/hot/"))[0] == 503, "workers to have failed")
    (tmp_path / "ready").touch()
    server.wait_until(lambda: request(server, get("/hot/"))[0] == 200, "a worker")


@pytest.mark.parametrize("claimed", [False, True])
@pytest.mark.parametrize("upload", [0, 1_000_000])
def test_a_stopped_worker_that_wakes_cannot_answer_too(start, stage, claimed, upload):
    """It is stopped before it receives the request, or when it has it and has not answered."""
    server = start(STATUS + service(**fuller("close", workers=1, stage=stage, deadline=1,
                                             taken="always")), modules=["mod_status"])
    wait_for_counter(server, "started", 1)
    assert request(server, get("/hot/"))[0] == 200
    pid, = workers()
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(server.connect())
        request_head = get("/hot/pause/3/", f"Content-Length: {upload}")
        if upload:
            request_head = request_head.replace(b"GET", b"POST", 1)
        if not claimed:
            os.kill(pid, signal.SIGSTOP)
        sock.sendall(request_head)
        if claimed:
            server.wait_until(lambda: processes.connections(pid), "the request to be received")
            os.kill(pid, signal.SIGSTOP)
        stack.callback(os.kill, pid, signal.SIGCONT)
        wait_for_counter(server, "refused", 1)
        with contextlib.suppress(ConnectionError):
            sock.sendall(b"x" * upload)
        os.kill(pid, signal.SIGCONT)
        assert refused_for_good(sock)
    assert request(server, get("/hot/"))[0] == 200  # the worker works on
    server.wait_until(lambda: counters(server)["untaken"] == 0, "nothing kept")


def test_a_slow_worker_is_not_a_dead_one(start, stage):
    """It has the request, and it runs: the deadline is for those that do not."""
    server = start(service(**fuller("close", workers=1, stage=stage, deadline=1, taken="always")))
    assert request(server, get("/hot/pause/3.5/"))[0] == 200


def test_but_its_time_is_bounded_too(start, stage):
    server = start(STATUS + service(**fuller("close", workers=1, stage=stage, deadline=1,
                                             taken="always", **{"taken-timeout": 2})),
                   modules=["mod_status"])
    with server.connect() as sock:
        sock.sendall(get("/hot/collect"))  # answers when it is told, and then says so
        assert refused_for_good(sock)
    assert counters(server)["untaken"] == 0


def test_external_workers_that_said_hello_and_receive_nothing(start, stage, tmp_path):
    """lighttpd cannot take back what lies in a queue of theirs, but it still has the connection."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "w"))
        listener.listen()
        server = start(STATUS + service(socket=str(tmp_path / "w"), stage=stage, deadline=1),
                       modules=["mod_status"])
        queue = listener.accept()[0]
        with queue:
            queue.send(b"LFDT\2\2" + bytes(26))
            server.wait_until(lambda: counters(server)["workers"] == 1, "the worker")
            time.sleep(0.1)  # hello is read
            with server.connect() as sock:
                sock.sendall(get("/hot/"))
                assert refused_for_good(sock)
            # A worker that receives it after that cannot write an answer.
            message, (fd, *_), _, _ = socket.recv_fds(queue, 69664, 2)
            with socket.socket(fileno=fd) as late, pytest.raises(OSError):
                late.setblocking(True)
                while True:
                    late.send(b"HTTP/1.1 200 OK\r\n\r\n")


@pytest.mark.parametrize("bound", [0, 3])
def test_the_deadline_holds_beyond_the_bound_of_the_log(start, stage, bound):
    """Requests that were logged when they were sent, since more lines may not wait."""
    server = start(STATUS + service(bin_path="/bin/sleep 1000", stage=stage, deadline=2,
                                    **{"max-unlogged": bound}), modules=["mod_status"])
    wait_for_counter(server, "started", 1)
    began = time.monotonic()
    for sock in ask(server, 10):
        with sock:
            assert refused(sock)
    assert time.monotonic() - began > 1
    assert counters(server)["refused"] == 10


def test_the_deadline_counts_backlog_and_queue_together(start, stage):
    server = start(STATUS + service(bin_path="/bin/sleep 1000", deadline=2, stage=stage,
                                    **{"queue-bytes": 4608}), modules=["mod_status"])
    began = time.monotonic()
    for sock in ask(server, 60):
        with sock:
            assert refused(sock)
    assert time.monotonic() - began < 5


def test_a_configuration_error_is_said_once_and_costs_no_waiting(start, stage, program):
    """Exit status 78 (EX_CONFIG): the worker will never run so, and is not started in a loop."""
    server = start(STATUS + service(stage=stage, bin_path=program(
        "#!/bin/sh\necho 'no module named app' >&2\nexit 78\n")), modules=["mod_status"])
    server.wait_for("exited with status 78")
    assert refused(ask(server, 1)[0])
    time.sleep(1)
    assert server.output.read_text().count("no module named app") == 1
    assert counters(server)["started"] == 1


def test_a_program_that_cannot_be_started(start, stage, tmp_path):
    path = tmp_path / "worker"
    path.write_text("#!/no/such/interpreter\n")
    path.chmod(0o755)
    server = start(STATUS + service(bin_path=str(path), stage=stage), modules=["mod_status"])
    server.wait_for("cannot start")
    server.wait_until(lambda: counters(server)["failed"] >= 4, "some attempts")
    assert refused(ask(server, 1)[0])
    assert server.log_text().count("cannot start") == 1
