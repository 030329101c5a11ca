# SPDX-License-Identifier: BSD-3-Clause
"""Connections that workers give back: keep-alive goes on with lighttpd. And what workers may get
wrong: lighttpd lives, says what was wrong, and leaks nothing."""
import contextlib
import os
import resource
import socket
import time
import uuid

import pytest

import lighttpd
from service import (HERE, STATUS, counters, fuller, get, read_response, request, service,
                     wait_for_counter)


@pytest.fixture
def start_return(start, stage):
    def begin(config="", mode="return", **options):
        options = {"workers": 2, "stage": stage, **options}
        server = start(STATUS + service(**fuller(mode, **options)) + config,
                       modules=["mod_status"])
        (server.root / "style.css").write_text("css")
        return server
    return begin


def wait_for_hello(server):
    """Until the server keeps the connections that it hands over."""
    def kept():
        before = counters(server)["returned"]
        with server.connect() as sock:
            sock.sendall(get("/hot/pause/0.05"))
            server.wait_until(lambda: counters(server)["returned"] > before or
                              counters(server)["untaken"], "an answer, or a connection kept")
            seen = counters(server)["untaken"]
            read_response(sock)
        return seen
    server.wait_until(kept, "hello")


MODES = pytest.mark.parametrize("mode", ["return", "return batches"])


@MODES
def test_400_requests_alternate_on_one_connection(start_return, mode):
    server = start_return(mode=mode, config="server.max-keep-alive-requests = 1000\n")
    with server.connect() as sock:
        for _ in range(200):
            sock.sendall(get("/hot/"))
            status, _, body = read_response(sock)
            assert (status, body[:7]) == (200, b"worker ")
            sock.sendall(get("/style.css"))
            assert read_response(sock)[2] == b"css"
    assert wait_for_counter(server, "returned", 200)["handed-over"] == 200


@MODES
def test_400_pipelined_requests_alternate(start_return, mode):
    server = start_return(mode=mode)
    with server.connect() as sock:
        sock.sendall((get("/hot/") + get("/style.css")) * 200)
        data = b""
        while data.count(b"HTTP/1.1 200 OK") < 400 or not data.endswith(b"css"):
            more = sock.recv(65536)
            assert more, data
            data += more
    bodies = [part.partition(b"\r\n\r\n")[2] for part in data.split(b"HTTP/1.1 200 OK")[1:]]
    assert [body[:3] for body in bodies] == [b"wor", b"css"] * 200
    assert counters(server)["handed-over"] == 200


def test_a_worker_that_closes_early_ends_the_connection(start_rubbish):
    """It received the request, closed the socket, and goes on."""
    server = start_rubbish()
    with server.connect() as sock:
        sock.sendall(get("/hot/leave"))
        assert sock.recv(100) == b""
    assert request(server, get("/hot/nothing"))[0] == 200
    assert counters(server)["died"] == 0


def test_descriptors_come_and_go(start_return):
    server = start_return()
    with server.connect() as sock:
        for _ in range(10):
            sock.sendall(get("/hot/"))
            read_response(sock)
        wait_for_counter(server, "returned", 10)
        before = len(server.fds())
        for _ in range(200):
            sock.sendall(get("/hot/"))
            read_response(sock)
        wait_for_counter(server, "returned", 210)
        server.wait_until(lambda: len(server.fds()) <= before, "no descriptors left over")


def test_an_idle_returned_connection_ends_as_keep_alive_does(start_return):
    server = start_return("server.max-keep-alive-idle = 1\nserver.max-read-idle = 60\n")
    with server.connect() as sock:
        sock.sendall(get("/hot/"))
        read_response(sock)
        began = time.monotonic()
        assert sock.recv(1) == b""
        assert time.monotonic() - began < 10


def test_keep_alive_requests_are_counted_on(start_return):
    """The limit is said with the next response that lighttpd writes."""
    server = start_return("server.max-keep-alive-requests = 3\n")
    wait_for_hello(server)
    with server.connect() as sock:
        for _ in range(3):
            sock.sendall(get("/hot/"))
            assert read_response(sock)[0] == 200
        sock.sendall(get("/style.css"))
        assert "\r\nConnection: close" in read_response(sock)[1]
        assert sock.recv(1) == b""


def test_a_worker_may_take_a_moment_to_return(start_return):
    """It has answered, announced nothing, said nothing: the connection is kept still."""
    server = start_return()
    wait_for_hello(server)
    with server.connect() as sock:
        sock.sendall(get("/hot/linger/"))
        assert read_response(sock)[0] == 200
        sock.sendall(get("/style.css"))
        assert read_response(sock)[2] == b"css"
    assert counters(server)["rejected"] == 0


def test_without_keep_alive_a_returned_connection_ends(start_return):
    server = start_return("server.max-keep-alive-idle = 0\n")
    wait_for_hello(server)
    with server.connect() as sock:
        sock.sendall(get("/hot/"))
        assert read_response(sock)[0] == 200
        assert sock.recv(1) == b""


def test_what_follows_a_request_that_asks_for_the_end_is_not_served(start_confused):
    """The worker has answered it, and returns the connection with what the client sent after it."""
    server = start_confused()
    with server.connect() as sock:
        sock.sendall(get("/hot/kept_with_rest", "Connection: close") + get("/style.css"))
        data = b"".join(iter(lambda: sock.recv(65536), b""))
    assert data.count(b"HTTP/1.1 200") == 1 and b"css" not in data


def test_conditions_hold_on_returned_connections(start, stage):
    """$SERVER["socket"] and the client's address are those of the connection."""
    server = start(STATUS + service(**fuller("return", stage=stage))
                   + '$HTTP["remoteip"] != "127.0.0.1" { url.access-deny = ("") }\n',
                   modules=["mod_status", "mod_access"],
                   accesslog_format='%h \\"%r\\" %s')
    (server.root / "style.css").write_text("css")
    with server.connect() as sock:
        sock.sendall(get("/hot/"))
        read_response(sock)
        sock.sendall(get("/style.css"))
        assert read_response(sock)[0] == 200
    server.wait_for(r'^127.0.0.1 "GET /style.css HTTP/1.1" 200$', log="access")


RUBBISH = {
    "short": "shorter than its 32-byte header",
    "empty": "empty",
    "noise": "wrong magic",
    "version": "version other than 2",
    "request": "only the server sends",
    "long": "longer than the largest record",
    "no_fd": "without the file descriptors",
    "three_fds": "more file descriptors",
    "many_fds": "descriptors",
    "file": "the file is no socket",
    "udp": "the socket is no stream",
    "unconnected": "not connected",
    "stranger": "not made to that listening socket",
    "bad_index": "no such listening socket",
    "empty_memfd": "the memfd holds less",
    "file_as_memfd": "the second file is no memfd",
    "memfd_without_socket": "the file is no socket",
    "no_socket": "without its socket",
    "wrong_id": "without its socket",
    "rubbish_behind_a_note": "wrong magic",
    "notes_with_a_socket_too_many": "more file descriptors",
    "files_together": "the file is no socket",
}


@pytest.fixture
def start_rubbish(start, stage):
    def begin():
        return start(STATUS + service(bin_path=str(HERE / "rubbish_worker.py"), stage=stage),
                     modules=["mod_status"])
    return begin


def test_rubbish_is_refused_and_named(start_rubbish):
    server = start_rubbish()
    request(server, get("/hot/nothing"))
    server.wait_for_no_client()
    before = len(server.fds())
    rejected = 0
    for name in RUBBISH:
        assert request(server, get(f"/hot/{name}"))[0] == 200, name
        rejected += 2 if name == "files_together" else 1
        wait_for_counter(server, "rejected", rejected)
    # One line a second at most: the last one is of this second, or of the next rubbish.
    assert "refused what worker" in server.log_text()
    server.wait_until(lambda: len(server.fds()) <= before, "no descriptors left over")


@pytest.mark.parametrize("name", RUBBISH)
def test_the_log_names_what_was_wrong(start, name):
    server = start(STATUS + service(bin_path=str(HERE / "rubbish_worker.py")),
                   modules=["mod_status"])
    with server.connect() as sock:
        sock.sendall(get(f"/hot/{name}"))
        assert read_response(sock)[0] == 200
        server.wait_for(rf'fd-transfer.server "/hot/": refused what worker \d+ sent: '
                        rf'.*{RUBBISH[name]}')


def test_an_unknown_taken_is_harmless(start_rubbish):
    server = start_rubbish()
    assert request(server, get("/hot/unknown_id"))[0] == 200
    assert counters(server)["rejected"] == 0


def test_a_connection_returned_twice_is_one_connection(start_rubbish):
    server = start_rubbish()
    (server.root / "style.css").write_text("css")
    with server.connect() as sock:
        sock.sendall(get("/hot/twice"))
        assert read_response(sock)[0] == 200
        now = wait_for_counter(server, "rejected", 1)
        assert now["returned"] == 1
        sock.sendall(get("/style.css"))
        assert read_response(sock)[2] == b"css"
    server.wait_for("the server has the same connection already")


@pytest.fixture
def start_confused(start, stage):
    """A worker that says hello, so that connections are kept, and is confused about them."""
    def begin(**options):
        server = start(STATUS + service(bin_path=f"{HERE / 'rubbish_worker.py'} hello",
                                        stage=stage, taken="always", **options),
                       modules=["mod_status"])
        (server.root / "style.css").write_text("css")
        assert request(server, get("/hot/nothing"))[0] == 200
        return server
    return begin


@pytest.mark.parametrize("name, rejected", [("kept_twice", 1), ("kept_twice_together", 1),
                                            ("kept_then_taken", 0), ("kept_then_with_socket", 1)])
def test_what_is_said_of_a_returned_connection_changes_nothing(start_confused, name, rejected):
    server = start_confused()
    with server.connect() as sock:
        for _ in range(20):
            sock.sendall(get(f"/hot/{name}"))
            assert read_response(sock)[0] == 200
            sock.sendall(get("/style.css"))
            assert read_response(sock)[2] == b"css"
    now = wait_for_counter(server, "rejected", 20 * rejected)
    assert (now["returned"], now["rejected"]) == (20, 20 * rejected)


@pytest.mark.parametrize("name", ["kept_after_taken", "kept_wrong_id"])
def test_a_connection_returned_in_vain_ends(start_confused, name):
    """The server does not have it, or does not know that it should go on with it."""
    server = start_confused()
    before = len(server.fds())
    with server.connect() as sock:
        sock.sendall(get(f"/hot/{name}"))
        assert read_response(sock)[0] == 200
        assert sock.recv(1) == b""
    now = wait_for_counter(server, "rejected", 1)
    assert (now["returned"], now["untaken"]) == (0, 0)
    server.wait_for("came back without its socket")
    server.wait_until(lambda: len(server.fds()) <= before, "no descriptors left over")


def test_what_was_pipelined_is_answered_though_the_worker_died(start_confused):
    server = start_confused()
    with server.connect() as sock:
        sock.sendall(get("/hot/dead_after_answer") + get("/style.css"))
        answers = b""
        while not answers.endswith(b"css"):  # both may come at once
            more = sock.recv(65536)
            assert more, answers
            answers += more
        assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert counters(server)["broken-off"] == 0


def test_a_body_is_no_request_though_the_worker_died(start_confused):
    """Its answer is complete, but what the worker would have read is not known: no guesses."""
    server = start_confused()
    body = get("/style.css")
    with server.connect() as sock:
        sock.sendall(b"POST /hot/dead_after_answer HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n%s"
                     % (len(body), body))
        answers = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answers.startswith(b"HTTP/1.1 200") and answers.count(b"HTTP/1.1") == 1, answers
    assert counters(server)["broken-off"] == 1


def test_rubbish_as_unread_bytes_is_400(start_confused):
    server = start_confused()
    with server.connect() as sock:
        sock.sendall(get("/hot/kept_with_rubbish"))
        answers = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answers.startswith(b"HTTP/1.1 200") and b" 400 Bad Request\r\n" in answers


def test_a_connection_that_its_worker_forgot_is_let_go_in_time(start_confused):
    """The worker lives, has not answered, and has closed its descriptor."""
    server = start_confused(taken_timeout=2)
    with server.connect() as sock:
        sock.sendall(get("/hot/leave"))
        assert sock.recv(1) == b""
    assert counters(server)["untaken"] == 0


def test_a_returned_connection_beyond_the_limit_is_closed(start, stage):
    """server.max-connections is reached by others: the returned one is let go, with a reason."""
    server = start("server.max-connections = 2\n" + STATUS
                   + service(**fuller("return", stage=stage, taken="never")), modules=["mod_status"])
    with server.connect() as sock, server.connect() as one, server.connect() as two:
        sock.sendall(get("/hot/pause/0.5"))
        server.wait_for(r"/hot/pause", log="access")
        for other in (one, two):
            other.sendall(b"GET /")
        assert read_response(sock)[0] == 200
        assert sock.recv(1) == b""
    server.wait_for("server.max-connections is reached")


def test_pipelined_requests_of_the_same_length(start_return, tmp_path):
    """Of three requests two come together; the second comes back with the first's connection, and
    the third has arrived when the second's worker dies."""
    server = start_return(taken="always")
    name = f"die-once-{uuid.uuid4()}"
    second = get(f"/hot/pause/0.3/die-once/{name}")
    third = get("/style.css", "X-Fill: ")
    third = get("/style.css", "X-Fill: " + "x" * (len(second) - len(third)))
    try:
        with server.connect() as sock:
            sock.sendall(get("/hot/pause/0.6") + second)
            wait_for_counter(server, "untaken", 1)
            sock.sendall(third)
            data = b""
            while not data.endswith(b"css"):
                more = sock.recv(65536)
                assert more, data
                data += more
    finally:
        os.unlink(f"/tmp/{name}")
    bodies = [part.partition(b"\r\n\r\n")[2] for part in data.split(b"HTTP/1.1 200 OK")[1:]]
    assert [body[:3] for body in bodies] == [b"wor", b"wor", b"css"]
    assert counters(server)["repeated"] == 1


def test_a_request_that_all_workers_return_ends_in_502(start_return):
    server = start_return(taken="always")
    with server.connect() as sock:
        sock.sendall(get("/hot/back"))
        assert read_response(sock)[0] == 502
    server.wait_for("came back unanswered again and again")
    assert counters(server)["handed-over"] < 10
    with server.connect() as sock:
        for _ in range(10):
            sock.sendall(get("/hot/"))
            assert read_response(sock)[0] == 200


def test_a_request_that_all_workers_return_ends_though_the_connection_is_not_kept(start_return):
    server = start_return(taken="never")
    with server.connect() as sock:
        sock.sendall(get("/hot/back"))
        assert read_response(sock)[0] == 503
    server.wait_for("came back unanswered again and again")
    assert counters(server)["handed-over"] < 10
    with server.connect() as sock:
        for _ in range(10):
            sock.sendall(get("/hot/") * 2)
            data = b""
            while data.count(b"worker ") < 2:  # each of them has come with what follows it
                assert (more := sock.recv(65536)), data
                data += more


@contextlib.contextmanager
def same_port_to_two_addresses(port):
    """Connections that differ in the server's address only."""
    with contextlib.ExitStack() as stack:
        pair = [stack.enter_context(socket.socket()) for _ in range(2)]
        own = ("127.0.0.1", 0)
        for sock, address in zip(pair, ("127.0.0.1", "127.0.0.2")):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.settimeout(20)
            sock.bind(own)
            own = sock.getsockname()
            sock.connect((address, port))
        yield pair


@pytest.mark.parametrize("taken", ["always", "never"])
def test_connections_from_one_port_to_two_addresses_are_two(start_return, taken):
    """Of a server that listens at every address (which is all loopback here)."""
    port = lighttpd.free_port()
    server = start_return(f'$SERVER["socket"] == "0.0.0.0:{port}" {{ }}\n', taken=taken)
    with same_port_to_two_addresses(port) as (first, second):
        for path in ("/hot/", "/style.css"):
            for sock in (first, second):
                sock.sendall(get(path))
                assert read_response(sock)[0] == 200
        second.sendall(get("/hot/back"))
        with contextlib.suppress(EOFError, ConnectionResetError):
            # What was not kept is answered on the socket that came back.
            assert read_response(second)[0] == (502 if taken == "always" else 503)
    now = counters(server)
    assert now["handed-over"] < 10
    assert now["rejected"] == 1


def test_requests_that_come_back_once_are_answered(start_return):
    server = start_return(taken="always")
    with server.connect() as sock:
        for _ in range(6):
            name = f"back-once-{uuid.uuid4()}"
            try:
                sock.sendall(get(f"/hot/back-once/{name}"))
                assert read_response(sock)[0] == 200
            finally:
                os.unlink(f"/tmp/{name}")
    wait_for_counter(server, "returned", 12)


def test_requests_that_lighttpd_answers_when_they_come_back(start_return):
    server = start_return(taken="always")
    with server.connect() as sock:
        for _ in range(6):
            sock.sendall(get("/hot/elsewhere"))
            assert read_response(sock)[2] == b"css"


def test_a_socket_that_finds_no_descriptor_comes_back_all_the_same(start_return):
    """lighttpd has kept the connection: it needs no other descriptor of it."""
    server = start_return(taken="always")
    with server.connect() as sock:
        sock.sendall(get("/hot/"))
        assert read_response(sock)[0] == 200
        used = server.fds()
        gap = next(fd for fd in range(1000) if fd not in used)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (gap, 4096))
        sock.sendall(get("/hot/with-socket"))
        assert read_response(sock)[0] == 200
        sock.sendall(get("/hot/"))
        assert read_response(sock)[0] == 200
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (4096, 4096))
    assert wait_for_counter(server, "returned", 3)["rejected"] == 0


def test_clients_on_a_unix_socket(start, stage, tmp_path):
    """The kernel does not tell how far their answers have come: the worker gets the connection for
    good, and returns it with its socket."""
    path = tmp_path / "http.sock"
    server = start(STATUS + service(**fuller("return", stage=stage, taken="always")) +
                   f'$SERVER["socket"] == "{path}" {{ }}\n', modules=["mod_status"])
    (server.root / "style.css").write_text("css")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        for url in ("/hot/", "/hot/pause/3", "/style.css", "/hot/"):
            sock.sendall(get(url))
            assert read_response(sock)[0] == 200
    assert wait_for_counter(server, "returned", 3)["rejected"] == 0
