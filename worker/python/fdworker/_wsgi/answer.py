# SPDX-License-Identifier: BSD-3-Clause
"""What a WSGI application answers (PEP 3333), as HTTP: start_response(), write(), the iterable.

A response has a length or is sent in chunks, so that the client sees whether it is whole; only
HTTP/1.0 clients, which know no chunks, may see the connection's end instead.
"""

from __future__ import annotations

import enum
import io
import logging
import os
import re
import time
from typing import Any, Callable, Iterable
from wsgiref.handlers import format_date_time

import h11

from .output import Output

log = logging.getLogger("fdworker")
StartResponse = Callable[..., Callable[[bytes], None]]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]
BLOCK = 65536  # bytes of a file that are read at once

# Of the connection, which is the runner's.
HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)


class FileWrapper:
    """wsgi.file_wrapper: an iterable of a file's blocks, which goes out without being read if it is
    a real file."""

    def __init__(self, file: Any, block_size: int = BLOCK) -> None:
        self.file = file
        self.block_size = block_size
        if hasattr(file, "close"):
            self.close = file.close

    def __iter__(self) -> FileWrapper:
        return self

    def __next__(self) -> bytes:
        block: bytes = self.file.read(self.block_size)
        if not block:
            raise StopIteration
        return block

    def extent(self) -> tuple[int, int] | None:
        """Where the file is and how many bytes are left; None if it is no real file."""
        try:
            fd = self.file.fileno()
            offset = self.file.tell()
            size = os.fstat(fd).st_size
        except (AttributeError, OSError, io.UnsupportedOperation):
            return None
        return (offset, size - offset) if size > offset else None


def encode_head(status: str, fields: Iterable[tuple[str, str]]) -> bytes:
    """Status line and fields with the empty line. Raises ValueError for what no head may hold."""
    lines = [f"HTTP/1.1 {status}\r\n"]
    for name, value in fields:
        if not (is_name(name) and is_value(value)):
            raise ValueError(f"field {name!r}: {value!r}: cannot be sent")
        lines.append(f"{name}: {value}\r\n")
    lines.append("\r\n")
    return "".join(lines).encode("latin-1")


is_name = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
is_value = re.compile(r"[\t -~\x80-\xff]*").fullmatch
is_status = re.compile(r"[2-9]\d\d(?: [\t -~\x80-\xff]*)?", re.ASCII).fullmatch


class State(enum.Enum):
    SILENT = enum.auto()  # the application has not begun
    READY = enum.auto()  # it has said status and fields; they may still be replaced
    SENDING = enum.auto()
    COMPLETE = enum.auto()


class Answer:
    """One answer. status and size() are what the access log shows."""

    def __init__(self, request: h11.Request, output: Output, keeps: bool) -> None:
        """`keeps`: whether the connection may go on after this answer."""
        self.status = 0
        self.state = State.SILENT
        self.keeps = keeps
        self._is_head = request.method == b"HEAD"
        self._knows_chunks = request.http_version >= b"1.1"
        self._is_chunked = False
        self._output = output
        self._head = b""  # but for the fields of the runner
        self._has_date = False
        self._head_size = 0
        self._left: int | None = None  # bytes of the body that are still to come, if it has said so

    @property
    def has_begun(self) -> bool:
        return self.state in (State.SENDING, State.COMPLETE)

    @property
    def is_complete(self) -> bool:
        return self.state is State.COMPLETE

    def size(self) -> int:
        """Bytes that were written after the head."""
        return max(0, self._output.sent - self._head_size)

    @property
    def ends_with_the_connection(self) -> bool:
        """Whether the client would take a broken answer for a whole one."""
        return self._left is None and not self._is_chunked

    def run(self, application: Application, environ: dict[str, Any]) -> None:
        """Raises what the application raises, and ClientLost."""
        blocks = application(environ, self.start_response)
        try:
            if isinstance(blocks, (list, tuple)):
                self._send_last(b"".join(blocks))
            elif not (isinstance(blocks, FileWrapper) and self._send_file(blocks)):
                self._send_each(blocks)
        finally:
            if close := getattr(blocks, "close", None):
                close()

    def fail(self) -> None:
        """500, if nothing has been sent."""
        if not self.has_begun:
            self.state = State.SILENT
            body = b"Internal Server Error\n"
            self.start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
            self._send_last(body)

    def start_response(
        self, status: str, fields: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        try:
            if exc_info and self.has_begun:
                raise exc_info[1].with_traceback(exc_info[2])
            if not exc_info and self.state is not State.SILENT:
                raise RuntimeError("start_response() was called before, and there is no exc_info")
        finally:
            exc_info = None  # no cycle through the traceback
        self._take_head(status, fields)
        self.state = State.READY
        return self.write

    def write(self, data: bytes) -> None:
        if not isinstance(data, bytes):
            raise TypeError(f"a response's body is made of bytes, not of {type(data).__name__}")
        self._send(data)

    def _take_head(self, status: str, fields: list[tuple[str, str]]) -> None:
        """Raises ValueError for what cannot be sent."""
        if not is_status(status):
            raise ValueError(f"status {status!r}: must be three digits from 200, a space, and words")
        code = int(status[:3])
        kept = []
        length = None
        self._has_date = False
        for name, value in fields:
            lower = name.lower()
            if lower == "content-length":
                if not value.isdecimal() or not value.isascii() or length not in (None, int(value)):
                    raise ValueError(f"Content-Length {value!r}: must be a number, and only one")
                if length is not None or code == 204:
                    continue
                length = int(value)
            elif lower in HOP_BY_HOP:
                if lower == "connection" and "close" in value.lower():
                    self.keeps = False
                continue
            elif lower == "date":
                self._has_date = True
            kept.append((name, value))
        self._head = encode_head(status, kept)[:-2]
        self.status, self._left = code, length

    @property
    def _has_body(self) -> bool:
        return not self._is_head and self.status not in (204, 304)

    def _set_length(self, length: int) -> None:
        """The body is whole: the answer has a length, if the application has not said one. (For
        HEAD it may have made the body, or not.)"""
        if self.state is State.READY and self._left is None:
            if self._has_body or self._is_head and length:
                self._head += b"Content-Length: %d\r\n" % length
                self._left = length

    def _begin(self) -> list[bytes]:
        """The head, if it has not been sent."""
        if self.state is State.SILENT:
            raise RuntimeError("the application has not called start_response()")
        if self.state is State.SENDING:
            return []
        parts = [self._head]
        if not self._has_date:
            parts.append(_date())
        if self._left is None and self._knows_chunks and self.status not in (204, 304):
            parts.append(b"Transfer-Encoding: chunked\r\n")
            self._is_chunked = self._has_body
        elif self._left is None and self._has_body:
            self.keeps = False
        parts.append(b"\r\n" if self.keeps else b"Connection: close\r\n\r\n")
        self._head_size = sum(map(len, parts))
        self.state = State.SENDING
        return parts

    def _frame(self, data: bytes) -> list[bytes]:
        """The data as they are sent; nothing of what exceeds the length that was said."""
        if not self._has_body or not data:
            return []
        if self._is_chunked:
            return [b"%x\r\n" % len(data), data, b"\r\n"]
        if self._left is not None:
            if len(data) > self._left:
                log.error("the body is longer than Content-Length says: the rest is not sent")
                data = data[: self._left]
            self._left -= len(data)
        return [data]

    def _send(self, data: bytes) -> None:
        """One block, at once: the application may take its time for the next one."""
        if parts := [*self._begin(), *self._frame(data)]:
            self._output.write(parts)
            self._output.goes_on()

    def _send_last(self, data: bytes) -> None:
        self._set_length(len(data))
        if self._has_body and self._left is not None and self._left > len(data):
            missing = self._left - len(data)
            raise RuntimeError(f"the body is {missing} bytes shorter than Content-Length says")
        parts = [*self._begin(), *self._frame(data)]
        if self._is_chunked:
            parts.append(b"0\r\n\r\n")
        self.state = State.COMPLETE
        self._output.write(parts)

    def _send_each(self, blocks: Iterable[bytes]) -> None:
        for block in blocks:
            if block:
                self.write(block)
                if not self._has_body:
                    break
        self._send_last(b"")

    def _send_file(self, file: FileWrapper) -> bool:
        """False: it is to be read instead."""
        extent = file.extent() if self.state is State.READY and self._has_body else None
        if not extent:
            return False
        offset, size = extent
        self._set_length(size)
        assert self._left is not None
        size = min(size, self._left)
        self._output.write(self._begin())
        self._output.goes_on()
        self._output.write_file(file.file.fileno(), offset, size)
        self._left -= size
        self._send_last(b"")
        return True


_date_now = (0, b"")


def _date() -> bytes:
    """The field Date, made once a second."""
    global _date_now
    now = int(time.time())
    if _date_now[0] != now:
        _date_now = (now, f"Date: {format_date_time(now)}\r\n".encode())
    return _date_now[1]
