# SPDX-License-Identifier: BSD-3-Clause
"""A server that sends rubbish: every sample refuses it, keeps no descriptor of it, and goes on."""
import array
import dataclasses
import socket
import subprocess
import sys

import pytest

import fronts
import processes
import samples

sys.path.insert(0, fronts.PYTHON_PACKAGE)

from fdworker.record import INLINE_MAX, MESSAGE_MAX, Kind, Record, encode  # noqa: E402

REQUEST = b"GET /hot/now HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
GOOD = Record(Kind.REQUEST, 0, 7, 0, len(REQUEST), len(REQUEST))


def changed(**fields):
    return encode(dataclasses.replace(GOOD, **fields))


RUBBISH = {  # message, how many of the client's socket
    "one byte": (b"L", 1),
    "a header cut by one": (encode(GOOD)[:31], 1),
    "wrong magic": (b"X" + encode(GOOD)[1:] + REQUEST, 1),
    "version 1": (b"LFDT\1" + encode(GOOD)[5:] + REQUEST, 1),
    "unknown kind": (changed(kind=9) + REQUEST, 1),
    "unknown flag": (changed(flags=8) + REQUEST, 1),
    "oversized": (encode(GOOD) + bytes(MESSAGE_MAX), 1),
    "oversized, and right where it is cut": (
        changed(data_length=INLINE_MAX) + REQUEST.ljust(INLINE_MAX + 1), 1),
    "no fd": (encode(GOOD) + REQUEST, 0),
    "three fds": (encode(GOOD) + REQUEST, 3),
    "more fds than room": (encode(GOOD) + REQUEST, 100),
    "memfd missing": (changed(flags=1), 1),
    "data cut": (encode(GOOD) + REQUEST[:-1], 1),
    "data too many": (encode(GOOD) + REQUEST + b"x", 1),
    "head of nothing": (changed(head_length=0) + REQUEST, 1),
    "head longer than the data": (changed(head_length=len(REQUEST) + 1) + REQUEST, 1),
}

class Server:
    """Our end of a worker's queue."""

    def __init__(self, name, credentials=False):
        self.queue, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, credentials)
            self.worker = subprocess.Popen(samples.command(name), stdin=theirs,
                                           stderr=subprocess.DEVNULL, env=fronts.ENVIRONMENT)

    def send(self, message, count):
        """Sends `count` times one end of a connection; the other end."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname(), timeout=20)
            accepted = listener.accept()[0]
        with accepted:
            accepted.setblocking(False)
            fds = array.array("i", [accepted.fileno()] * count)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)] if count else []
            self.queue.sendmsg([message], rights)
        return client

    def answer(self):
        with self.send(encode(GOOD) + REQUEST, 1) as client:
            return b"".join(iter(lambda: client.recv(65536), b""))


@pytest.fixture
def server():
    started = []

    def start(name, **options):
        started.append(Server(name, **options))
        return started[-1]
    yield start
    for one in started:
        one.queue.close()
        try:
            assert one.worker.wait(30) == 0
        finally:
            one.worker.kill()


@pytest.mark.parametrize("sample", samples.COMMANDS)
def test_rubbish_is_refused_and_the_worker_goes_on(server, sample):
    one = server(sample)
    assert one.answer().startswith(b"HTTP/1.1 ")
    fronts.wait_until(lambda: fronts.clients_held(one.worker.pid) == 0, "the first client's end")
    before = len(processes.fds(one.worker.pid))
    for name, (message, count) in RUBBISH.items():
        with one.send(message, count) as client:
            assert client.recv(100) == b"", name  # closed without a word
        assert one.answer().startswith(b"HTTP/1.1 "), name
    fronts.wait_until(lambda: len(processes.fds(one.worker.pid)) == before, "closed descriptors")


@pytest.mark.parametrize("sample", samples.COMMANDS)
def test_credentials_before_the_socket_do_not_matter(server, sample):
    one = server(sample, credentials=True)
    assert one.answer().startswith(b"HTTP/1.1 ")
