# SPDX-License-Identifier: BSD-3-Clause
"""Connections that lighttpd keeps while a worker answers: whatever client, timers and signals do
meanwhile, lighttpd does not touch them, does not spin, and lets go of them in the end."""
import select
import signal
import socket
import time

import pytest

from service import (STATUS, counters, fuller, get, read_response, request, service,
                     wait_for_counter)

RESET = b"\1\0\0\0\0\0\0\0"  # SO_LINGER, 0 seconds: close() sends RST


@pytest.fixture
def start_keeping(start, stage):
    """A server that keeps the connections it hands over, since its workers have said hello."""
    def begin(mode, config="", **options):
        options = {"workers": 4, "stage": stage, "grace": 20, **options}
        server = start(STATUS + service(**fuller(mode, **options)) + config, modules=["mod_status"])
        (server.root / "style.css").write_text("css")
        wait_for_counter(server, "started", options["workers"])
        server.wait_until(lambda: kept_one(server), "hello")
        none_kept(server)
        return server
    return begin


def kept_one(server):
    """Whether the server has kept the connection of a request. (The first may go to a worker that
    has not said hello yet.)"""
    with server.connect() as sock:
        sock.sendall(get("/hot/pause/0.1"))
        server.wait_until(lambda: counters(server)["untaken"] or select.select([sock], [], [], 0)[0],
                          "an answer, or a connection kept")
        kept = counters(server)["untaken"]
        read_response(sock)
    return kept


def none_kept(server):
    return server.wait_until(lambda: (now := counters(server))["untaken"] == 0 and now,
                             "no connections kept")


def ask_and_wait(server, path, *fields, version="HTTP/1.1", file_first=False):
    """A connection whose request lies with a worker. `file_first`: it comes at once with another,
    for a file; lighttpd then does not ask for the client's bytes while the worker answers."""
    before = counters(server)["untaken"]
    sock = server.connect()
    file = get("/style.css") if file_first else b""
    sock.sendall(file + get(path, *fields, version=version))
    wait_for_counter(server, "untaken", before + 1)
    if file_first:
        assert read_response(sock)[2] == b"css"
    return sock


FILE_FIRST = pytest.mark.parametrize("file_first", [False, True])


@FILE_FIRST
@pytest.mark.parametrize("mode", ["close", "return"])
@pytest.mark.parametrize("fields", [[], ["Connection: close"]])
def test_a_client_that_has_said_all_is_answered_and_costs_nothing(start_keeping, mode, fields,
                                                                  file_first):
    """shutdown(SHUT_WR) of the client shows as readable and RDHUP for as long as it lasts."""
    server = start_keeping(mode)
    with ask_and_wait(server, "/hot/pause/2", *fields, file_first=file_first) as sock:
        sock.shutdown(socket.SHUT_WR)
        before = server.cpu()
        assert read_response(sock)[0] == 200
        assert server.cpu() - before < 0.5
        assert sock.recv(1) == b""
    assert none_kept(server)["rejected"] == 0


@FILE_FIRST
@pytest.mark.parametrize("mode", ["close", "return"])
@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_leaves_is_let_go(start_keeping, mode, reset, file_first):
    server = start_keeping(mode)
    fds = len(server.fds())
    sock = ask_and_wait(server, "/hot/pause/1", file_first=file_first)
    if reset:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()
    before = server.cpu()
    now = none_kept(server)
    assert server.cpu() - before < 0.5
    assert (now["repeated"], now["unanswered"], now["died"]) == (0, 0, 0)
    server.wait_until(lambda: len(server.fds()) <= fds, "no descriptors left over")


@FILE_FIRST
def test_a_client_that_talks_on_costs_nothing(start_keeping, file_first):
    """What it sends is the next request; it comes piece by piece while the first is answered."""
    server = start_keeping("return")
    with ask_and_wait(server, "/hot/pause/2", file_first=file_first) as sock:
        before = server.cpu()
        for byte in get("/style.css"):
            sock.send(bytes([byte]))
        answers = b""
        while not answers.endswith(b"css"):  # both may come at once
            more = sock.recv(65536)
            assert more, answers
            answers += more
        assert server.cpu() - before < 0.5
        assert answers.count(b"HTTP/1.1 200 OK") == 2


@FILE_FIRST
def test_timers_do_not_run_while_a_worker_answers(start_keeping, file_first):
    server = start_keeping("return", "server.max-read-idle = 1\nserver.max-write-idle = 1\n"
                                     "server.max-keep-alive-idle = 1\n")
    with ask_and_wait(server, "/hot/pause/4", file_first=file_first) as sock:
        assert read_response(sock)[0] == 200
        sock.sendall(get("/style.css"))
        assert read_response(sock)[2] == b"css"
        sock.sendall(get("/hot/pause/4"))  # and not on a later request either
        assert read_response(sock)[0] == 200
    assert none_kept(server)["broken-off"] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("mode", ["close", "return"])
def test_an_answer_outlives_the_server(start_keeping, mode, number):
    """It lets the connection go; a worker that returns it is refused, and closes it."""
    server = start_keeping(mode)
    with ask_and_wait(server, "/hot/pause/3") as sock:
        server.stop(number)
        assert read_response(sock)[0] == 200
        assert sock.recv(1) == b""


def test_an_answer_outlives_the_configuration(start_keeping):
    server = start_keeping("return")
    with ask_and_wait(server, "/hot/pause/4") as sock:
        server.reload()
        assert request(server, get("/hot/"))[0] == 200
        assert read_response(sock)[0] == 200
        assert sock.recv(1) == b""
    assert none_kept(server)["unanswered"] == 0


@pytest.mark.parametrize("idle", [0, 5])
@pytest.mark.parametrize("leaving", ["close", "reset", "half", "stay"])
def test_an_answer_and_its_client_come_in_one_turn(start_keeping, leaving, idle):
    """lighttpd finds the worker's word and the end of the connection in the same epoll_wait."""
    server = start_keeping("return", f"server.max-keep-alive-idle = {idle}\n")
    fds = len(server.fds())
    for _ in range(5):
        socks = [ask_and_wait(server, "/hot/pause/0.3") for _ in range(4)]
        server.send_signal(signal.SIGSTOP)
        try:
            for sock in socks:
                assert read_response(sock)[0] == 200
                if leaving == "reset":
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                if leaving == "half":
                    sock.shutdown(socket.SHUT_WR)
                elif leaving != "stay":
                    sock.close()
        finally:
            server.send_signal(signal.SIGCONT)
        none_kept(server)
        for sock in socks:
            if leaving in ("half", "stay") and not (leaving == "stay" and idle):
                assert sock.recv(1) == b""
            sock.close()
    server.wait_until(lambda: len(server.fds()) <= fds, "no descriptors left over")


def test_kept_connections_count_and_the_server_recovers(start_keeping):
    """server.max-connections is full of connections that workers answer: others wait, none is lost."""
    server = start_keeping("close", "server.max-connections = 3\n")
    socks = [server.connect() for _ in range(8)]
    for sock in socks:
        sock.sendall(get("/hot/pause/0.3", "Connection: close"))
    for sock in socks:
        with sock:
            assert read_response(sock)[0] == 200
    assert none_kept(server)["unanswered"] == 0


def test_no_descriptor_is_left(start_keeping):
    """RLIMIT_NOFILE: what is kept takes one descriptor, as long as a client has one; the rest wait."""
    server = start_keeping("return", "server.max-fds = 40\n")
    socks = [server.connect() for _ in range(60)]
    for sock in socks:
        sock.sendall(get("/hot/pause/0.05", "Connection: close"))
    deadline = time.monotonic() + 40
    for sock in socks:
        with sock:
            sock.settimeout(max(1, deadline - time.monotonic()))
            assert read_response(sock)[0] == 200
    assert none_kept(server)["unanswered"] == 0
