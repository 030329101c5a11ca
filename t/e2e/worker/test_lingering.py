# SPDX-License-Identifier: BSD-3-Clause
"""A worker that answers without reading the body: the client gets the answer, though it still sends.
Closing with unread bytes would send a reset, which overtakes it."""
import socket
import subprocess

import pytest

import fronts
from wsgi_worker import command, connect, get, read_all

PLAIN = """
import fdworker
def refuse(handoff):
    handoff.sock.sendall(b"HTTP/1.1 413 No\\r\\nConnection: close\\r\\nContent-Length: 3\\r\\n\\r\\nno\\n")
fdworker.serve(refuse, threads=%d)
"""
WORKERS = {
    "serve": [fronts.sys.executable, "-c", PLAIN % 0],
    "serve in threads": [fronts.sys.executable, "-c", PLAIN % 4],
    "wsgi, body too long": command("--body-max", 1000),
}
SIZE = 30_000_000


@pytest.fixture(params=["cat", "lighttpd-uri"])
def start(request, tmp_path, make_lighttpd):
    started = []

    def begin(arguments):
        if request.param == "cat":
            one = fronts.Cat(tmp_path, arguments, workers=1)
        else:
            script = tmp_path / "worker"  # lighttpd's bin-path takes no quotes
            quoted = " ".join("'" + str(part).replace("'", "'\\''") + "'" for part in arguments)
            script.write_text(f"#!/bin/sh\nexec {quoted}\n")
            script.chmod(0o755)
            one = fronts.Lighttpd(make_lighttpd, "uri", [script], workers=1)
        started.append(one)
        return one
    yield begin
    for one in started:
        one.stop()


def upload(one, request, size=SIZE):
    """Sends all of it before it reads the answer, as simple clients do."""
    with connect(one, request) as client:
        body = memoryview(bytes(size))
        client.sendall(body)
        return b"".join(iter(lambda: client.recv(65536), b""))


@pytest.mark.parametrize("fields, body", [
    ([f"Content-Length: {SIZE}"], SIZE),
    (["Transfer-Encoding: chunked"], None)])
@pytest.mark.parametrize("name", ["serve", "serve in threads", "wsgi, body too long"])
def test_a_body_that_is_not_read_does_not_cost_the_answer(start, name, fields, body):
    one = start(WORKERS[name])
    request = get("echo", *fields, method="POST")
    for _ in range(5):
        if body is None:
            with connect(one, request) as client:
                client.sendall(b"%x\r\n" % SIZE + bytes(SIZE) + b"\r\n0\r\n\r\n")
                answer = b"".join(iter(lambda: client.recv(65536), b""))
        else:
            answer = upload(one, request)
        assert answer.startswith(b"HTTP/1.1 413 "), answer


def test_what_follows_without_being_asked_for_does_not_cost_the_answer(tmp_path):
    """No body is announced, and bytes come."""
    one = fronts.Cat(tmp_path, WORKERS["serve"], workers=1)
    [worker] = one.worker_pids()
    fronts.wait_until(lambda: fronts.handles_sigterm(worker), "the worker")
    with fronts.stopped(worker):
        client = connect(one, get("x"))
        client.sendall(bytes(100_000))
    assert read_all(client).startswith(b"HTTP/1.1 413 ")
    one.stop()


def test_when_the_server_has_gone_the_worker_waits_for_the_client():
    """A queue that takes nothing: for a moment, and within bounds, the worker drains by itself."""
    ours, queue = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    request = get("x", f"Content-Length: {SIZE}", method="POST")
    worker = subprocess.Popen(WORKERS["serve in threads"], stdin=queue, env=fronts.ENVIRONMENT)
    queue.close()
    try:
        ours.settimeout(20)
        ours.recv(100)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname(), timeout=20)
            accepted = listener.accept()[0]
        accepted.setblocking(False)
        size = len(request).to_bytes(4, "little")
        record = b"LFDT\2\1\0\0" + (7).to_bytes(8, "little") + bytes(4) + size * 2 + bytes(4)
        with accepted, fronts.stopped(worker.pid):  # or it might return the connection to us
            socket.send_fds(ours, [record + request], [accepted.fileno()])
            ours.close()
        with client:
            client.sendall(bytes(SIZE))
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert worker.wait(30) == 0
    finally:
        worker.kill()
