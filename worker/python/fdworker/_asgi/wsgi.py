# SPDX-License-Identifier: BSD-3-Clause
"""A WSGI application as an ASGI one, in a pool of threads. (fdworker.wsgi serves such applications
without asyncio; this is for those who also want mod_proxy's connections.)"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, Callable, Iterable

from .loading import Message, Receive, Scope, Send

THREADS = 10
BODY_IN_MEMORY = 65536  # bytes; the rest of a request's body goes to a file

StartResponse = Callable[..., Callable[[bytes], None]]
Wsgi = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


class WsgiApplication:
    def __init__(self, app: Wsgi) -> None:
        self._app = app
        self._threads = ThreadPoolExecutor(THREADS, "wsgi")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"WSGI has no {scope['type']}")
        loop = asyncio.get_running_loop()
        with tempfile.SpooledTemporaryFile(BODY_IN_MEMORY) as body:
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                body.write(message.get("body", b""))
                more = message.get("more_body", False)
            body.seek(0)
            environ = build_environ(scope, body)
            gone = asyncio.ensure_future(receive())  # http.disconnect

            def send_and_wait(message: Message) -> None:
                if gone.done():
                    raise ConnectionError("the client has left")
                asyncio.run_coroutine_threadsafe(send(message), loop).result()

            try:
                call = Call(send_and_wait)
                await loop.run_in_executor(self._threads, call.run, self._app, environ)
            finally:
                gone.cancel()


def build_environ(scope: Scope, body: IO[bytes]) -> dict[str, Any]:
    """PEP 3333's, with what lighttpd knows of the client."""
    server = scope.get("server") or ("localhost", 80)
    root, path = scope.get("root_path", ""), scope["path"]
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": root.encode().decode("latin-1"),
        "PATH_INFO": path[len(root) :].encode().decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": body,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
    if scope.get("client"):
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = scope["client"][0], str(scope["client"][1])
    user = scope["extensions"].get("fdworker", {}).get("remote_user")
    if user is not None:
        environ["REMOTE_USER"] = user
        environ["AUTH_TYPE"] = "Basic"
    for field, value in scope["headers"]:
        name = field.decode("latin-1")
        # `_` would stand for `-`, so that a client could forge a field that somebody else sets; and
        # HTTP_PROXY means something else.
        if "_" in name or name == "proxy":
            continue
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_LENGTH", "CONTENT_TYPE"):
            key = f"HTTP_{key}"
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ


class Call:
    """One call of the application, in a thread. `send` waits until there is room."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._start: Message | None = None
        self._started = False

    def run(self, app: Wsgi, environ: dict[str, Any]) -> None:
        parts = app(environ, self._start_response)
        try:
            for part in parts:
                if part:
                    self._write(part)
            self._write_start()
            self._send({"type": "http.response.body", "body": b""})
        finally:
            close = getattr(parts, "close", None)
            if close:
                close()

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        if exc_info and self._started:
            raise exc_info[1].with_traceback(exc_info[2])
        if self._start and not exc_info:
            raise AssertionError("start_response was called twice")
        self._start = {
            "type": "http.response.start",
            "status": int(status.split(" ", 1)[0]),
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1"))
                        for name, value in headers],
        }  # fmt: skip
        return self._write

    def _write_start(self) -> None:
        if not self._started:
            if self._start is None:
                raise AssertionError("the application has not called start_response")
            self._started = True
            self._send(self._start)

    def _write(self, data: bytes) -> None:
        self._write_start()
        self._send({"type": "http.response.body", "body": data, "more_body": True})
