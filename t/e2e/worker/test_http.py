# SPDX-License-Identifier: BSD-3-Clause
"""Ordinary requests, bodies and event streams through every sample, with curl and wrk."""
import hashlib
import json
import re
import socket
import subprocess

import pytest

import fronts
import samples


def curl(*arguments):
    done = subprocess.run(["curl", "-sS", "-m", "30", *arguments], capture_output=True, check=True)
    return done.stdout


@pytest.mark.parametrize("sample", samples.ANSWER)
def test_curl_gets_an_answer(front, sample):
    one = front(sample)
    assert curl("-i", one.url("/hot/now")).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("sample", samples.ANSWER)
def test_curl_asks_on_one_connection_after_the_other(front, sample):
    one = front(sample)
    out = curl("-w", "%{http_code} ", "-o", "/dev/null", one.url("/hot/now"),
               "-o", "/dev/null", one.url("/hot/now"), "-o", "/dev/null", one.url("/hot/now"))
    assert out == b"200 " * 3


@pytest.mark.parametrize("sample", samples.ANSWER)
def test_an_offer_of_http2_does_no_harm(front, sample):
    """curl's `Upgrade: h2c`, at first and then on a connection that may have come back. (With
    h2c enabled lighttpd accepts it at stage uri, and then has nothing to hand over.)"""
    one = front(sample)
    pids = one.worker_pids()
    out = curl("--http2", "-w", "%{http_code}\n", "-o", "/dev/null", one.url("/hot/now"),
               "-o", "/dev/null", one.url("/hot/now")).decode()
    assert out == "200\n200\n"
    assert set(pids) <= set(one.worker_pids())


@pytest.mark.parametrize("sample", ["echo"])
def test_what_is_no_handshake_is_refused(front, sample):
    one = front(sample)
    assert re.match(rb"HTTP/1.1 4\d\d ", curl("-i", one.url("/hot/echo")))


@pytest.mark.parametrize("sample", samples.ANSWER)
def test_a_head_of_6_kb(front, sample):
    one = front(sample)
    answer = curl("-i", "-H", "X-Long: " + "x" * 6000, one.url("/hot/now"))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("sample", samples.ANSWER)
def test_a_request_in_a_memfd(tmp_path, sample):
    one = fronts.Cat(tmp_path, samples.command(sample), options=["--memfd"])
    assert curl("-i", one.url("/hot/now")).startswith(b"HTTP/1.1 200 OK\r\n")
    one.stop()


def exchange(port, request):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(request)
        return b"".join(iter(lambda: sock.recv(65536), b""))


@pytest.mark.parametrize("sample", ["wsgi"])
def test_more_fields_than_wsgiref_takes_are_refused_once(front, sample):
    fields = "".join(f"x{number}: y\r\n" for number in range(110))
    request = f"GET /hot/now HTTP/1.1\r\nHost: t\r\n{fields}\r\n".encode()
    assert re.findall(rb"HTTP/1.\d (\d+)", exchange(front(sample).port, request)) == [b"431"]


@pytest.mark.parametrize("sample", ["wsgi"])
def test_a_longer_request_line_than_wsgiref_takes_is_refused(tmp_path, sample):
    one = fronts.Cat(tmp_path, samples.command(sample))
    request = b"GET /hot/%s HTTP/1.1\r\nHost: t\r\n\r\n" % (b"x" * 70_000)
    assert re.findall(rb"HTTP/1.\d (\d+)", exchange(one.port, request)) == [b"414"]
    one.stop()
    assert "Traceback" not in one.worker_output()


@pytest.mark.parametrize("sample", samples.RETURN)
def test_one_connection_serves_the_worker_and_others(front, sample):
    one = front(sample)
    urls = [one.url("/hot/now"), one.url("/nothing-here")] * 50
    sink = [part for _ in urls for part in ("-o", "/dev/null")]
    out = curl("-w", "%{http_code} %{num_connects}\n", *sink, *urls).decode().splitlines()
    assert out == ["200 1", "404 0"] + ["200 0", "404 0"] * 49


@pytest.mark.parametrize("sample", samples.RETURN)
def test_pipelined_requests_are_all_answered(front, sample):
    one = front(sample)
    request = b"GET /hot/now HTTP/1.1\r\nHost: t\r\n\r\n"
    other = b"GET /nothing-here HTTP/1.1\r\nHost: t\r\n\r\n"
    last = b"GET /hot/now HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", one.port), timeout=20) as sock:
        sock.sendall((request + other) * 10 + last)
        answers = b"".join(iter(lambda: sock.recv(65536), b""))
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"404"] * 10 + [b"200"]


@pytest.mark.parametrize("extra", [(), ("-H", "Transfer-Encoding: chunked"),
                                   ("-H", "Expect:")], ids=["expect", "chunked", "plain"])
@pytest.mark.parametrize("sample", samples.UPLOAD)
def test_curl_uploads_5_mb(front, sample, extra, tmp_path):
    one = front(sample)
    body = bytes(i * 7 % 251 for i in range(5_000_000))
    (tmp_path / "body").write_bytes(body)
    answer = curl(*extra, "--data-binary", f"@{tmp_path / 'body'}", one.url("/hot/upload"))
    if sample == "starlette":
        assert json.loads(answer) == {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    else:
        assert int(answer) == len(body)


@pytest.mark.parametrize("sample", samples.EVENTS)
def test_events_stream(front, sample):
    one = front(sample)
    with subprocess.Popen(["curl", "-sSN", "-m", "30", one.url("/hot/events?ms=10")],
                          stdout=subprocess.PIPE) as client:
        lines = [client.stdout.readline() for _ in range(9)]
        client.kill()
    assert [line[:6] for line in lines] == [b"data: ", b"\n"] * 4 + [b"data: "]


@pytest.mark.parametrize("close", [False, True], ids=["keep-alive", "close"])
@pytest.mark.parametrize("sample", samples.ANSWER)
def test_wrk_sees_no_error(front, sample, close):
    one = front(sample)
    curl(one.url("/hot/now"))  # it has started
    fields = ["-H", "Connection: close"] if close else []
    out = subprocess.run(["wrk", "-t1", "-c64", "-d2s", *fields, one.url("/hot/now")],
                         capture_output=True, text=True, check=True).stdout
    assert int(re.search(r"(\d+) requests in", out)[1]) > 100, out
    assert "Non-2xx" not in out, out
    if sample not in ("hello.py",):  # which always closes; wrk counts that as read errors
        assert "Socket errors" not in out, out
