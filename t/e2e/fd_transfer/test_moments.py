# SPDX-License-Identifier: BSD-3-Clause
"""Awkward moments: between two looks at a worker, in the last second of a shutdown, when the clock
has leapt. No answer is cut off, lost, or given twice."""
import contextlib
import os
import signal
import time

import pytest

import processes
from service import (STATUS, counters, fuller, get, read_response, request, service,
                     wait_for_counter, workers)


@pytest.fixture
def start_keeping(make, stage):
    """A server that keeps the connections it hands over to its worker."""
    def begin(mode="return", config="", wrapper=(), **options):
        options = {"workers": 1, "stage": stage, "grace": 20, "taken": "always", **options}
        server = make(STATUS + service(**fuller(mode, **options)) + config, modules=["mod_status"])
        server.start(wrapper)
        (server.root / "style.css").write_text("css")
        wait_for_counter(server, "started", options["workers"])
        assert request(server, get("/hot/"))[0] == 200
        return server
    return begin


def at_the_second():
    """Waits until one of lighttpd's seconds begins."""
    while not 0.02 < time.monotonic() % 1 < 0.1:
        time.sleep(0.005)


def stop(server):
    server.wait_until(lambda: processes.sleeps(server.pid), "lighttpd to have nothing to do")
    server.send_signal(signal.SIGSTOP)


def wait_for_end(server, worker):
    server.wait_until(lambda: not os.path.exists(f"/proc/{worker}"), "the worker to be reaped")


def assert_answered_once(sock):
    """The answer, and then that of the next request: nothing lies between."""
    status, _, body = read_response(sock)
    assert (status, body[:7]) == (200, b"worker ")
    sock.sendall(get("/style.css"))
    assert read_response(sock)[2] == b"css"


def assert_nothing_odd(server):
    now = counters(server)
    assert (now["rejected"], now["broken-off"], now["repeated"]) == (0, 0, 0), server.log_text()


def test_what_a_worker_said_before_it_died_comes_first(start_keeping):
    """lighttpd's timers come before all events: it sees first that the worker is dead, and had
    answered, and then that it had returned the connection."""
    server = start_keeping()
    worker, = workers()
    with server.connect() as sock:
        os.kill(worker, signal.SIGSTOP)
        sock.sendall(get("/hot/die-after"))
        wait_for_counter(server, "untaken", 1)
        stop(server)
        os.kill(worker, signal.SIGCONT)
        wait_for_end(server, worker)
        time.sleep(1)  # lighttpd's clock goes on
        server.send_signal(signal.SIGCONT)
        assert_answered_once(sock)
    assert_nothing_odd(server)


def test_what_a_worker_says_while_lighttpd_looks_comes_first(start_keeping, tmp_path):
    """lighttpd takes 0.4 seconds to ask for a socket's owner; the worker returns the connection and
    dies meanwhile."""
    delayed = ("strace", "-D", "-o", str(tmp_path / "trace"), "-e", "trace=fcntl",
               "-e", "signal=none", "-e", "inject=fcntl:delay_enter=400000")
    server = start_keeping(wrapper=delayed)
    for pause in (1.2, 1.5, 1.8):
        with server.connect() as sock:
            sock.sendall(get(f"/hot/pause/{pause}/die-after"))
            assert_answered_once(sock)
    assert_nothing_odd(server)


def test_all_that_a_worker_said_comes_first(start_keeping):
    """It says more than lighttpd reads at once."""
    server = start_keeping()
    worker, = workers()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(270)]
        for client in clients:
            client.sendall(get("/hot/collect"))
        # All of them must be the worker's: what it has not received when it dies is the next one's,
        # who collects it and is never told to answer.
        server.wait_until(lambda: len(processes.connections(worker)) == len(clients),
                          "the worker to receive them")
        stop(server)
        os.kill(worker, signal.SIGUSR1)
        wait_for_end(server, worker)
        time.sleep(1)  # lighttpd's clock goes on
        server.send_signal(signal.SIGCONT)
        for client in clients:
            assert_answered_once(client)
    assert_nothing_odd(server)


@pytest.mark.parametrize("unreceived", [1, 3])
def test_what_a_worker_had_not_received_is_the_next_ones(start_keeping, unreceived):
    """It dies after it has answered what it had; the rest lies in the queue."""
    server = start_keeping()
    worker, = workers()
    with contextlib.ExitStack() as stack:
        received = [stack.enter_context(server.connect()) for _ in range(20)]
        for client in received:
            client.sendall(get("/hot/collect"))
        server.wait_until(lambda: len(processes.connections(worker)) == len(received),
                          "the worker to receive them")
        os.kill(worker, signal.SIGSTOP)
        server.wait_until(lambda: processes.is_stopped(worker), "the worker to stop")
        late = [stack.enter_context(server.connect()) for _ in range(unreceived)]
        for client in late:
            client.sendall(get("/hot/collect"))
        wait_for_counter(server, "untaken", len(received) + unreceived)
        os.kill(worker, signal.SIGUSR1)  # it answers before it receives anything
        os.kill(worker, signal.SIGCONT)
        wait_for_end(server, worker)
        for client in received:
            assert_answered_once(client)
        successor, = server.wait_until(workers, "another worker")
        server.wait_until(lambda: len(processes.connections(successor)) == unreceived,
                          "it to receive the rest")
        os.kill(successor, signal.SIGUSR1)
        for client in late:
            assert_answered_once(client)
    assert_nothing_odd(server)


def test_one_worker_dies_and_another_shuts_the_queue_down(start_keeping):
    """Both in one turn, and lighttpd hears of the death first: when it has read the queue to its end,
    the queue's own event is still to come."""
    server = start_keeping(workers=2)
    dies, shuts = workers()
    with server.connect() as lost, server.connect() as sock:
        os.kill(shuts, signal.SIGSTOP)
        lost.sendall(get("/hot/collect"))
        server.wait_until(lambda: processes.connections(dies), "the request to be received")
        os.kill(dies, signal.SIGSTOP)
        os.kill(shuts, signal.SIGCONT)
        at_the_second()  # so that no timer comes between
        sock.sendall(get("/hot/pause/0.6/shut"))
        wait_for_counter(server, "untaken", 2)
        stop(server)
        os.kill(dies, signal.SIGKILL)
        wait_for_end(server, dies)
        wait_for_end(server, shuts)
        server.send_signal(signal.SIGCONT)
        assert_answered_once(sock)
    server.wait_for("a worker has shut the queue down")
    assert request(server, get("/hot/"))[0] == 200


@pytest.mark.parametrize("path", ["/hot/pause/3.5/", "/hot/pause/0.5/slow"])
def test_a_shutdown_that_is_in_a_hurry_cuts_no_answer(start_keeping, path):
    """The connection is let go in the turn in which lighttpd ends those that are left."""
    server = start_keeping(
        "close", 'server.feature-flags += ( "server.graceful-shutdown-timeout" => 1 )\n')
    with server.connect() as sock:
        sock.sendall(get("/style.css"))
        assert read_response(sock)[2] == b"css"
        at_the_second()
        sock.sendall(get(path))
        time.sleep(0.2)  # lighttpd hands the request over
        server.send_signal(signal.SIGINT)
        assert read_response(sock)[2].startswith(b"worker ")


def test_a_reload_without_a_time_limit_does_not_wait_for_answers(start_keeping):
    server = start_keeping(
        "close", 'server.feature-flags += ( "server.graceful-shutdown-timeout" => 0 )\n')
    with server.connect() as sock:
        sock.sendall(get("/hot/pause/10/"))
        wait_for_counter(server, "untaken", 1)
        begun = time.monotonic()
        server.reload()
        assert time.monotonic() - begun < 7
        assert read_response(sock)[2].startswith(b"worker ")


@pytest.mark.parametrize("path", ["/hot/pause/1/", "/hot/pause/1/die-after", "/hot/pause/1/slow"])
def test_a_clock_that_leaps_ends_no_connection(start_keeping, path):
    """lighttpd stands still for longer than clients may be idle, while a worker answers."""
    server = start_keeping(config='server.max-read-idle = 2\n')
    with server.connect() as sock:
        sock.sendall(get("/style.css"))
        assert read_response(sock)[2] == b"css"
        at_the_second()
        sock.sendall(get(path))
        wait_for_counter(server, "untaken", 1)
        stop(server)
        time.sleep(3.5)
        server.send_signal(signal.SIGCONT)
        assert read_response(sock)[2].startswith(b"worker ")
        if "slow" not in path:
            sock.sendall(get("/style.css"))
            assert read_response(sock)[2] == b"css"
