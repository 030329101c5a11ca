# SPDX-License-Identifier: BSD-3-Clause
"""Runs a WSGI application on handed-off sockets, in a pool of threads. Standard library only.

    python3 -m fdworker.wsgi module:app
    python3 -m fdworker.wsgi --listen /run/app.handoff --threads 16 module:app

One request for each hand-off, then the connection is closed. For mod_proxy's connections, too,
use `fdworker.asgi --interface wsgi`.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import socket
import sys
from typing import Any
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler

from .blocking import serve
from .queue import Handoff


class Stream(io.RawIOBase):
    """The client's bytes: first those that came with the hand-off, then the socket's.

    Answers `Expect: 100-continue` when the application begins to read a body.
    """

    def __init__(self, handoff: Handoff) -> None:
        self._data = handoff.data
        self._sock = handoff.sock
        self._waits = b"100-continue" in handoff.head.lower() and not handoff.rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._data:
            if self._waits:
                self._waits = False
                self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            return self._sock.recv_into(buffer)
        part = self._data[: len(buffer)]
        self._data = self._data[len(part) :]
        buffer[: len(part)] = part
        return len(part)


class Body(io.RawIOBase):
    """At most `length` bytes of a stream, as wsgi.input has to end where the body does."""

    def __init__(self, stream: Any, length: int) -> None:
        self._stream = stream
        self._left = length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._stream.read(min(len(buffer), self._left))
        self._left -= len(part)
        buffer[: len(part)] = part
        return len(part)


class ResponseHandler(ServerHandler):
    """wsgiref's, which says that the connection ends with the response."""

    http_version = "1.1"
    headers: Any

    def cleanup_headers(self) -> None:
        super().cleanup_headers()
        self.headers["Connection"] = "close"


class RequestHandler(WSGIRequestHandler):
    """wsgiref's, on a hand-off instead of an accepted connection."""

    def __init__(self, application: Any, handoff: Handoff) -> None:
        self._application = application
        self._handoff = handoff
        super().__init__(handoff.sock, handoff.sock.getpeername(), _Server(handoff.sock))  # type: ignore[arg-type]

    def setup(self) -> None:
        self.connection = self.request
        self.rfile = io.BufferedReader(Stream(self._handoff))
        self.wfile = io.BufferedWriter(self.request.makefile("wb", buffering=0), 65536)

    def handle(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if len(self.raw_requestline) > 65536:
            self.requestline = self.request_version = self.command = ""
            return self.send_error(414)
        if not self.parse_request():  # which has said why
            return
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self.send_error(411)
        length = int(self.headers.get("Content-Length") or 0)
        body = io.BufferedReader(Body(self.rfile, length))
        handler = ResponseHandler(
            body, self.wfile, self.get_stderr(), self.get_environ(), multithread=True
        )
        handler.request_handler = self  # type: ignore[attr-defined]
        handler.run(self._application)

    def handle_expect_100(self) -> bool:
        return True  # the stream says it when the body is wanted

    def address_string(self) -> str:
        return str(self.client_address[0])

    def log_message(self, format: str, *arguments: Any) -> None:
        pass  # lighttpd has logged the request


class _Server:
    """What WSGIRequestHandler wants to know of its server."""

    def __init__(self, sock: socket.socket) -> None:
        name, port = sock.getsockname()[:2]
        self.base_environ = {
            "SERVER_NAME": name,
            "SERVER_PORT": str(port),
            "GATEWAY_INTERFACE": "CGI/1.1",
            "REMOTE_HOST": "",
            "CONTENT_LENGTH": "",
            "SCRIPT_NAME": "",
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python3 -m fdworker.wsgi",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("app", help="module:attribute of the WSGI application")
    parser.add_argument("--listen", metavar="PATH", help="unix socket for lighttpd's hand-offs")
    parser.add_argument("--threads", type=int, default=8, help="requests at once (8)")
    options = parser.parse_args()
    sys.path.insert(0, os.getcwd())
    module, _, attribute = options.app.partition(":")
    application = getattr(importlib.import_module(module), attribute or "application")

    def answer(handoff: Handoff) -> None:
        RequestHandler(application, handoff)

    serve(answer, listen=options.listen, threads=options.threads)


if __name__ == "__main__":
    main()
