# SPDX-License-Identifier: BSD-3-Clause
"""A request that workers give back unanswered again and again ends, and soon, also where the kernel
does not tell how far an answer has come."""
import socket

import pytest

from service import STATUS, counters, fuller, get, read_response, request, service, wait_for_counter

WORKERS = 2
MOST = WORKERS + 4  # hand-offs of one request


@pytest.fixture(params=["always", "never"])
def start_returning(start, stage, request):
    """A server whose workers return requests unanswered; their connections are kept, or not."""
    def begin(config="", **options):
        server = start(STATUS + service(**fuller("return", workers=WORKERS, stage=stage,
                                                 taken=request.param, **options)) + config,
                       modules=["mod_status"])
        wait_for_counter(server, "started", WORKERS)
        return server
    return begin


def ends(server, sock):
    """The connection ends, and has gone to workers a few times only."""
    try:
        while sock.recv(65536):
            pass
    except ConnectionError:
        pass
    assert counters(server)["handed-over"] <= MOST
    return True


def test_whose_writing_side_a_worker_has_shut_down(start_returning):
    """TCP_INFO then tells nothing of use."""
    server = start_returning()
    with server.connect() as sock:
        sock.sendall(get("/hot/half-back"))
        assert ends(server, sock)


@pytest.mark.parametrize("shut", [False, True])
def test_of_a_client_on_a_unix_socket(start_returning, tmp_path, shut):
    path = tmp_path / "u"
    server = start_returning(f'$SERVER["socket"] == "{path}" {{ }}\n')
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(path))
        sock.sendall(get("/hot/half-back" if shut else "/hot/back"))
        assert ends(server, sock)


def test_of_a_client_that_has_said_all(start_returning):
    server = start_returning()
    with server.connect() as sock:
        sock.sendall(get("/hot/half-back"))
        sock.shutdown(socket.SHUT_WR)
        assert ends(server, sock)


def test_in_a_pipeline(start_returning):
    """What was answered before it does not give it more rounds than one."""
    server = start_returning()
    with server.connect() as sock:
        sock.sendall(get("/hot/") + get("/hot/") + get("/hot/half-back") + get("/hot/"))
        assert read_response(sock)[0] == 200
        assert counters(server)["handed-over"] <= MOST + 2
        while sock.recv(65536):
            pass
    assert counters(server)["handed-over"] <= MOST + 2


def test_on_a_unix_socket_many_answers_are_no_loop(start_returning, tmp_path):
    """Pipelined requests: each is answered, and the rest comes back."""
    path = tmp_path / "u"
    server = start_returning(f'$SERVER["socket"] == "{path}" {{ }}\n')
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(path))
        sock.sendall(get("/hot/") * 20)
        data = b""
        while data.count(b"200 OK") < 20:
            more = sock.recv(65536)
            assert more, data
            data += more
    assert counters(server)["rejected"] == 0


def test_while_others_are_served(start_returning):
    server = start_returning()
    socks = [server.connect() for _ in range(20)]
    for sock in socks:
        sock.sendall(get("/hot/half-back"))
    for _ in range(20):
        assert request(server, get("/hot/"))[0] == 200
    for sock in socks:
        with sock:
            while sock.recv(65536):
                pass
