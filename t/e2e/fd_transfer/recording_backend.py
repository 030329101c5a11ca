# SPDX-License-Identifier: BSD-3-Clause
"""Requests with bodies, a backend for mod_proxy that keeps what it is sent, and the parts of a head to
compare it by."""
import hashlib
import queue
import re
import socket
import threading

LENGTH = re.compile(rb"\r\nContent-Length:[ \t]*(\d+)", re.I)
CHUNKED = re.compile(rb"\r\nTransfer-Encoding:[ \t]*chunked", re.I)


def post(body, *fields, path="/hot/x", method="POST"):
    """A request with a body."""
    fields = "".join(f"\r\n{field}" for field in fields)
    return f"{method} {path} HTTP/1.1\r\nHost: test{fields}\r\n\r\n".encode("latin-1") + body


CHUNKS = b"5\r\nhello\r\n7;a=b\r\n, world\r\n0\r\n\r\n"  # "hello, world"


class Backend:
    """Listens on a unix socket and answers every request with 200. Use as a context manager."""

    def __init__(self, path):
        self.path = path
        self.requests = queue.Queue()  # of (head as text, sha256 of the body)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind, value, traceback):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client, client.makefile("rb") as stream:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = stream.readline()
                if not line:
                    return
                head += line
            self.requests.put((head.decode("latin-1"), hashlib.sha256(body(head, stream)).hexdigest()))
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def body(head, stream):
    if not CHUNKED.search(head):
        length = LENGTH.search(head)
        return stream.read(int(length[1])) if length else b""
    data = b""
    while size := int(stream.readline().partition(b";")[0], 16):
        data += stream.read(size)
        stream.readline()
    return data


def parts(head):
    """(method, target, version, [(name, value), ...]) of a head."""
    line, *fields = head.removesuffix("\r\n\r\n").split("\r\n")
    method, target, version = line.split(" ")
    return method, target, version, [tuple(field.split(": ", 1)) for field in fields]
