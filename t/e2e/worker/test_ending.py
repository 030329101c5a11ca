# SPDX-License-Identifier: BSD-3-Clause
"""How a worker ends what it answers: HEAD, Expect, bodies that nobody reads, clients that have ended
their side, bytes behind the last request. The client always has the whole answer, and one."""
import os
import pathlib
import re
import shutil
import socket
import subprocess

import pytest

import fronts
import samples

UPLOAD = 30_000_000  # bytes
# Requests whose body these do not read. (What reads it all has no trouble.)
UNREAD = {**{name: "/hot/now" for name in samples.ANSWER},
          "beast": "/hot/nothing", "starlette": "/hot/about", "echo": "/hot/echo"}
every_answer = pytest.mark.parametrize("sample", samples.ANSWER)


def connect(one):
    return socket.create_connection(("127.0.0.1", one.port), timeout=20)


def read_all(client):
    return b"".join(iter(lambda: client.recv(65536), b""))


def exchange(one, request):
    with connect(one) as client:
        client.sendall(request)
        return read_all(client)


def get(path="/hot/now", fields="Connection: close\r\n", method="GET", version="1.1"):
    return f"{method} {path} HTTP/{version}\r\nHost: t\r\n{fields}\r\n".encode()


def statuses(answer):
    """Of all answers that are in it."""
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d+)", answer)]


def check_an_answer_before_the_body(one, path, framing):
    """lighttpd lingers, as for its own answers: five times of five, however much is on its way."""
    body = bytes(UPLOAD)
    if framing == "length":
        fields = f"Content-Length: {UPLOAD}\r\n"
    else:
        fields = "Transfer-Encoding: chunked\r\n"
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (UPLOAD, body)
    request = get(path, fields + "Connection: close\r\n", method="POST")
    for _ in range(5):
        with connect(one) as client:
            client.sendall(request + body)
            assert len(statuses(read_all(client))) == 1


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("sample", UNREAD)
def test_an_answer_that_comes_before_the_body_arrives(front, sample, framing):
    check_an_answer_before_the_body(front(sample), UNREAD[sample], framing)


@pytest.fixture(scope="session")
def go_worker(tmp_path_factory):
    """go_worker.go, which has nothing but the page."""
    if not shutil.which("go"):
        pytest.skip("no Go compiler: apt-get install golang-go")
    folder = tmp_path_factory.mktemp("go")
    subprocess.run(["go", "build", "-o", folder / "go_worker",
                    pathlib.Path(__file__).parent / "go_worker.go"], check=True, cwd=folder,
                   env={**os.environ, "GOCACHE": str(folder / "cache"), "GO111MODULE": "off"})
    return [str(folder / "go_worker")]


@pytest.mark.parametrize("stage", ["cat", "uri", pytest.param("raw", marks=pytest.mark.raw)])
def test_one_written_from_the_page_in_go(go_worker, tmp_path, make_lighttpd, stage):
    one = (fronts.Cat(tmp_path, go_worker) if stage == "cat"
           else fronts.Lighttpd(make_lighttpd, stage, go_worker))
    for framing in "length", "chunked":
        check_an_answer_before_the_body(one, "/hot/now", framing)
    assert statuses(exchange(one, get())) == [200]
    assert exchange(one, get(method="HEAD")).endswith(b"\r\n\r\n")
    one.stop()


@every_answer
def test_head_is_answered_without_a_body(front, sample):
    answer = exchange(front(sample), get(method="HEAD"))
    assert statuses(answer) == [200]
    assert answer.partition(b"\r\n\r\n")[2] == b""


@pytest.mark.parametrize("sample", samples.RETURN)
def test_what_follows_head_on_the_same_connection_is_understood(front, sample):
    """Whether or not the worker returns it: a body would be read as the next answer's start."""
    answer = b""
    with connect(front(sample)) as client:
        client.sendall(get(method="HEAD", fields="") + get("/nothing-here"))
        while statuses(answer) != [200, 404] and (more := client.recv(65536)):
            answer += more
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert statuses(head) == [200]
    if b"connection: close" in head.lower():
        assert rest == b""
    else:
        assert rest.startswith(b"HTTP/1.1 404 ")


ODD_EXPECTATIONS = {
    "in the target": get("/hot/now?Expect:%20100-continue"),
    "in a value": get(fields="X-Note: Expect: 100-continue\r\nConnection: close\r\n"),
    "as part of a name": get(fields="X-Expect: 100-continue\r\nConnection: close\r\n"),
    "of HTTP/1.0": get(fields="Expect: 100-continue\r\nContent-Length: 2\r\n", method="POST",
                       version="1.0") + b"ok",
}


@pytest.mark.parametrize("request_", ODD_EXPECTATIONS.values(), ids=ODD_EXPECTATIONS)
@every_answer
def test_what_is_no_expectation_is_not_answered_100(front, sample, request_):
    assert 100 not in statuses(exchange(front(sample), request_))


@pytest.mark.parametrize("sample", samples.UPLOAD)
def test_an_expectation_is_met(front, sample):
    request = get("/hot/upload", "eXPECT:\t100-Continue \r\nContent-Length: 2\r\nConnection: close\r\n",
                  "POST")
    with connect(front(sample)) as client:
        client.sendall(request)
        assert client.recv(100).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"ok")
        assert statuses(read_all(client)) == [200]


@pytest.mark.parametrize("fields", ["", "Connection: close\r\n"], ids=["keep-alive", "close"])
@every_answer
def test_a_client_that_has_ended_its_side_is_answered(front, sample, fields):
    with connect(front(sample)) as client:
        client.sendall(get(fields=fields))
        client.shutdown(socket.SHUT_WR)
        assert statuses(read_all(client)) == [200]


@pytest.mark.parametrize("sample", samples.UPLOAD)
def test_one_that_has_ended_its_side_after_a_body_too(front, sample):
    with connect(front(sample)) as client:
        client.sendall(get("/hot/upload", "Content-Length: 100000\r\n", "POST") + bytes(100_000))
        client.shutdown(socket.SHUT_WR)
        assert statuses(read_all(client)) == [200]


@pytest.mark.parametrize("rest", [b"\r\n", b"\r\n\r\n", b"rubbish", get("/hot/x"), bytes(100_000)],
                         ids=["crlf", "crlfs", "rubbish", "request", "much"])
@every_answer
def test_bytes_behind_the_last_request_are_ignored(front, sample, rest):
    assert statuses(exchange(front(sample), get() + rest)) == [200]


@pytest.mark.parametrize("sample", ["beast", "hello.py", "hello.pl"])
def test_who_the_client_is(front, sample):
    with connect(front(sample)) as client:
        client.sendall(get("/hot/who"))
        assert client.getsockname()[0].encode() in read_all(client)


@pytest.mark.parametrize("sample", ["beast"])
def test_a_body_in_chunks_is_held_to_the_servers_limit(make_lighttpd, sample):
    """server.max-request-size, in kB: lighttpd has compared it with Content-Length only."""
    one = fronts.Lighttpd(make_lighttpd, "uri", samples.command(sample),
                          extra="server.max-request-size = 64\n")
    body = b"%x\r\n%s\r\n0\r\n\r\n"
    request = get("/hot/upload", "Transfer-Encoding: chunked\r\nConnection: close\r\n", "POST")
    for size, status in (65536, 200), (65537, 413), (UPLOAD, 413):
        assert statuses(exchange(one, request + body % (size, bytes(size)))) == [status]
    one.stop()
