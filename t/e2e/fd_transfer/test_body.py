# SPDX-License-Identifier: BSD-3-Clause
"""Bodies: streamed to the worker from the client, or read whole by lighttpd first, for workers that
block; and who holds which limit."""
import hashlib
import socket
import threading

import pytest

from recording_backend import CHUNKS, post
from service import STATUS, counters, get, read_response, report, request, service

WHOLE = {"body": "whole"}
SECOND = get("/hot/second")


def sha(data):
    return hashlib.sha256(data).hexdigest()


def chunked(body, size):
    parts = [body[at:at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@pytest.mark.parametrize("streams", [0, 1, 2])
@pytest.mark.parametrize("size", [0, 1, 5000, 70_000, 3_000_000])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_whole_body_travels_with_the_hand_off(start, streams, size, framing):
    """lighttpd's own setting for other modules does not matter."""
    server = start(f"server.stream-request-body = {streams}\n" + service(**WHOLE))
    body = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    data = (post(body, f"Content-Length: {size}") if framing == "length" else
            post(chunked(body, 6000), "Transfer-Encoding: chunked"))
    seen = report(request(server, data + SECOND))
    assert (seen["body"], seen["sha256"], seen["rest"]) == (size, sha(body), SECOND.decode())
    assert seen["early"] == size + len(SECOND)
    assert f"\r\nContent-Length: {size}\r\n" in seen["head"] and "chunked" not in seen["head"]


def test_lighttpd_answers_expect_for_a_whole_body(start):
    server = start(service(**WHOLE))
    with server.connect() as sock:
        sock.sendall(post(b"", "Content-Length: 5", "Expect: 100-continue"))
        assert sock.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"hello")
        seen = report(read_response(sock))
    assert seen["sha256"] == sha(b"hello") and "Expect" not in seen["head"]
    # HTTP/1.0 knows nothing of it.
    seen = report(request(server, b"POST /hot/x HTTP/1.0\r\nContent-Length: 5\r\n"
                          b"Expect: 100-continue\r\n\r\nhello"))
    assert seen["sha256"] == sha(b"hello")


BLOCKING = """#!/usr/bin/python3
import re, socket, struct, time
queue = socket.socket(fileno=0)
while True:
    message, fds, _, _ = socket.recv_fds(queue, 65568, 2)
    if not message:
        break
    data = message[32:32 + struct.unpack("<I", message[24:28])[0]]
    length = int(re.search(rb"Content-Length: (\\d+)", data, re.I)[1])
    with socket.socket(fileno=fds[0]) as client:
        client.setblocking(True)
        text = b"%d" % len(data.partition(b"\\r\\n\\r\\n")[2])
        while length > int(text):
            text = b"%d" % (int(text) + len(client.recv(65536)))
        client.sendall(b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n%s"
                       % (len(text), text))
"""


@pytest.fixture
def blocking(tmp_path):
    """The path of a worker that does one thing at a time."""
    path = tmp_path / "blocking_worker.py"
    path.write_text(BLOCKING)
    path.chmod(0o755)
    return path


def test_slow_uploads_hold_no_worker(start, blocking):
    """One worker, which blocks; four clients who send a byte now and then; others are served."""
    server = start(STATUS + service(bin_path=str(blocking), **WHOLE), modules=["mod_status"])
    slow = [server.connect() for _ in range(4)]
    for sock in slow:
        sock.sendall(post(b"", "Content-Length: 40"))
    for turn in range(40):
        for sock in slow:
            sock.sendall(b"x")
        assert request(server, post(b"quick", "Content-Length: 5"))[2] == b"5"
        assert turn == 39 or counters(server)["handed-over"] == turn + 1
    for sock in slow:
        with sock:
            assert read_response(sock)[2] == b"40"
    assert counters(server)["handed-over"] == 44


def test_a_client_that_leaves_within_its_body_costs_no_hand_off(start):
    server = start(STATUS + service(**WHOLE), modules=["mod_status"])
    for how in (socket.SHUT_WR, socket.SHUT_RDWR):
        with server.connect() as sock:
            sock.sendall(post(b"hel", "Content-Length: 5"))
            sock.shutdown(how)
            if how == socket.SHUT_WR:
                assert not sock.recv(1)
    server.wait_for_no_client()
    assert counters(server)["handed-over"] == 0


@pytest.mark.parametrize("data", [
    post(b"", "Content-Length: 9000", "Expect: 100-continue"), post(b"z" * 9000, "Content-Length: 9000"),
    post(chunked(b"z" * 9000, 1000), "Transfer-Encoding: chunked")], ids=["expect", "length", "chunks"])
def test_a_body_that_does_not_fit_into_a_record_is_413(start, data):
    server = start(STATUS + service(max_record=4096, **WHOLE), modules=["mod_status"])
    assert request(server, data)[0] == 413
    assert counters(server)["handed-over"] == 0
    assert report(request(server, post(b"z" * 3000, "Content-Length: 3000")))["body"] == 3000


def test_an_endless_body_is_413_before_its_end(start):
    server = start(service(max_record=4096, **WHOLE))
    with server.connect() as sock:
        sock.sendall(post(b"", "Transfer-Encoding: chunked"))
        sent = threading.Thread(target=send_chunks, args=(sock,), daemon=True)
        sent.start()
        assert read_response(sock)[0] == 413


def send_chunks(sock):
    try:
        for _ in range(10_000):
            sock.sendall(b"400\r\n" + b"z" * 1024 + b"\r\n")
    except OSError:
        pass


def test_chunks_that_are_none_are_400(start):
    server = start(service(**WHOLE))
    assert request(server, post(b"5\r\nhello\r\nxyz\r\n", "Transfer-Encoding: chunked"))[0] == 400


@pytest.mark.parametrize("options, expected", [(WHOLE, 413), ({}, 200)])
def test_who_holds_the_limit_of_a_body(start, options, expected):
    """lighttpd, of what it reads or what is announced. Of a body that is streamed in chunks: the
    worker, as the page says."""
    server = start("server.max-request-size = 4\n" + service(**options))
    assert request(server, post(b"z" * 5000, "Content-Length: 5000"))[0] == 413
    assert request(server, post(b"z" * 4000, "Content-Length: 4000"))[0] == 200
    assert request(server, post(chunked(b"z" * 5000, 500), "Transfer-Encoding: chunked"))[0] == expected


@pytest.mark.parametrize("options", [WHOLE, {"body": "stream"}, {}])
def test_a_body_by_default_is_streamed(start, options):
    """The worker has the head before the body is there; unless it is to be whole."""
    server = start(STATUS + service(**options), modules=["mod_status"])
    with server.connect() as sock:
        sock.sendall(post(b"hel", "Content-Length: 5"))
        if options == WHOLE:
            assert counters(server)["handed-over"] == 0
        else:
            server.wait_until(lambda: counters(server)["handed-over"] == 1, "the hand-off")
        sock.sendall(b"lo")
        assert report(read_response(sock))["early"] == (5 if options == WHOLE else 3)


def test_a_wrong_delivery_is_named(make):
    result = make(service(body="half")).check_config()
    assert result.returncode != 0
    for part in ('"/hot/"', '"body"', '"half"', '"stream" "whole"'):
        assert part in result.stderr


@pytest.mark.raw
def test_the_raw_stage_reads_no_bodies(make):
    result = make(service(stage="raw", **WHOLE)).check_config()
    assert result.returncode != 0
    for part in ('"body"', '"whole"', '"raw"', 'use "stage" => "uri", or leave "body" out'):
        assert part in result.stderr


def test_chunks_stay_chunks_in_a_stream(start):
    seen = report(request(start(service()), post(CHUNKS, "Transfer-Encoding: chunked") + SECOND))
    assert "\r\nTransfer-Encoding: chunked\r\n" in seen["head"]
    assert (seen["early"], seen["rest"]) == (len(CHUNKS + SECOND), SECOND.decode())
