# SPDX-License-Identifier: BSD-3-Clause
"""The way of a response to its client: an application's thread never waits for a slow one.

What the socket takes is written by the thread. From the first byte that it does not take, the rest
waits here, in memory and then in a temporary file, and the loop writes it.
"""

from __future__ import annotations

import contextlib
import os
import select
import tempfile
import time
from collections import deque
from dataclasses import dataclass
from threading import Condition
from typing import IO, Callable, Union

from ..loop import Loop
from ..queue import Handoff

JOIN_MAX = 1 << 16  # bytes of head and body that are copied to be sent in one packet
SEND_MAX = 1 << 20  # bytes of one file that one turn of the loop sends


class ClientLost(ConnectionError):
    """The client has left, or has not read for too long. The connection is to be closed."""


@dataclass(frozen=True)
class OutputLimits:
    memory: int  # bytes of a response that wait in memory
    disk: int  # ... and in a temporary file, before the application is made to wait
    idle: float  # seconds without a byte that the client has taken


@dataclass
class Segment:
    """A part of an open file."""

    fd: int
    offset: int
    end: int
    close: bool = False  # the fd, afterwards


class Output:
    """Owned by a thread until finish(); the loop shares it from the first byte that waits."""

    def __init__(self, handoff: Handoff, loop: Loop, limits: OutputLimits) -> None:
        self.sent = 0  # bytes that the socket has taken
        self._handoff = handoff
        self._sock = handoff.sock
        self._loop = loop
        self._limits = limits
        self._is_told = False
        self._shared: Condition | None = None  # once the loop has a part in it; guards what follows
        self._waiting: deque[Union[memoryview, Segment]] = deque()
        self._in_memory = 0
        self._file: IO[bytes] | None = None
        self._file_end = 0
        self._is_watched = False
        self._lost = False
        self._on_end: Callable[[bool], None] | None = None
        self._progress = 0.0

    def write(self, parts: list[bytes]) -> None:
        """Raises ClientLost."""
        if sum(map(len, parts)) <= JOIN_MAX:
            parts = [b"".join(parts)]
        for part in parts:
            self._write(part)

    def _write(self, data: bytes) -> None:
        if not self._shared:
            sent = self._send(data)
            if sent == len(data):
                return
            self._share()
            self._keep(memoryview(data)[sent:])
        elif data:
            self._keep(memoryview(data))

    def goes_on(self) -> None:
        """The answer has begun and is not whole: lighttpd need not keep the connection."""
        if not self._is_told:
            self._is_told = True
            self._handoff.taken()

    def write_file(self, fd: int, offset: int, count: int) -> None:
        """The same with a part of a file, without reading it. The fd remains the caller's."""
        self._share()
        self._append(Segment(os.dup(fd), offset, offset + count, close=True))

    def finish(self, on_end: Callable[[bool], None]) -> None:
        """Calls on_end(True) once all is written, on_end(False) if the client is lost before: at
        once if nothing has waited, otherwise in the loop's thread."""
        if not self._shared:
            return on_end(True)
        with self._shared:
            self._on_end = on_end
            if not self._is_watched:  # nothing waits
                self._loop.call(lambda: self._end(self._lost))

    def abandon(self, on_end: Callable[[bool], None]) -> None:
        """Drops what waits and calls on_end(False), likewise."""
        if not self._shared:
            return on_end(False)
        with self._shared:
            self._on_end = on_end
        self._loop.call(lambda: self._end(lost=True))

    def check(self, now: float) -> None:
        """For the loop, now and then: gives up a client that does not read."""
        if self._is_watched and now - self._progress > self._limits.idle:
            self._end(lost=True)

    def _send(self, data: bytes | memoryview) -> int:
        try:
            sent = self._sock.send(data)
            self.sent += sent
            return sent
        except BlockingIOError:
            return 0
        except OSError as error:
            raise ClientLost(error.errno, error.strerror) from None

    def _share(self) -> None:
        if not self._shared:
            self._shared = Condition()
            self.goes_on()

    def _keep(self, data: memoryview) -> None:
        assert self._shared
        with self._shared:
            in_memory = self._in_memory + len(data) <= self._limits.memory
            if in_memory:
                self._in_memory += len(data)
        if in_memory:
            self._append(data)
        else:
            self._spool(data)

    def _spool(self, data: memoryview) -> None:
        assert self._shared
        if self._file and self._file_end + len(data) > self._limits.disk:
            self._wait_until_empty()
            self._file.truncate(0)
            self._file_end = 0
        if not self._file:
            self._file = tempfile.TemporaryFile(buffering=0)
        offset = self._file_end
        while data:
            count = os.pwrite(self._file.fileno(), data, self._file_end)
            self._file_end += count
            data = data[count:]
        self._append(Segment(self._file.fileno(), offset, self._file_end))

    def _wait_until_empty(self) -> None:
        """The disk's share is used up. The loop sees to it that this does not last."""
        assert self._shared
        with self._shared:
            self._shared.wait_for(lambda: self._lost or not self._waiting)

    def _append(self, part: memoryview | Segment) -> None:
        assert self._shared
        with self._shared:
            if self._lost:
                self._close(part)
                raise ClientLost("the client has left, or does not read")
            last = self._waiting[-1] if self._waiting else None
            if isinstance(part, Segment) and isinstance(last, Segment) and (
                (last.fd, last.end) == (part.fd, part.offset)
            ):  # fmt: skip
                last.end = part.end
            else:
                self._waiting.append(part)
            if not self._is_watched:
                self._is_watched = True
                self._progress = time.monotonic()
                self._loop.call(self._watch)

    # The loop's thread

    def _watch(self) -> None:
        if self._sock.fileno() >= 0:  # its thread has not given up meanwhile
            self._loop.watch(self._sock.fileno(), select.EPOLLOUT, self._on_writable)

    def _on_writable(self, _: int) -> None:
        assert self._shared
        with self._shared:
            lost = False
            try:
                written = self._write_first() if self._waiting else 0
            except OSError:
                lost = True
            else:
                if written:
                    self.sent += written
                    self._progress = time.monotonic()
            if lost or not self._waiting:  # before a thread adds something
                self._stop(lost)
        self._tell_end()

    def _write_first(self) -> int:
        """Raises OSError."""
        part = self._waiting[0]
        try:
            if isinstance(part, Segment):
                count = min(part.end - part.offset, SEND_MAX)
                sent = os.sendfile(self._sock.fileno(), part.fd, part.offset, count)
                if not sent:
                    raise OSError("the file has become shorter")
                part.offset += sent
                is_whole = part.offset == part.end
            else:
                sent = self._sock.send(part)
                self._in_memory -= sent
                is_whole = sent == len(part)
                self._waiting[0] = part[sent:]
        except BlockingIOError:
            return 0
        if is_whole:
            self._close(self._waiting.popleft())
        return sent

    def _end(self, lost: bool) -> None:
        assert self._shared
        with self._shared:
            self._stop(lost)
        self._tell_end()

    def _stop(self, lost: bool) -> None:
        """Nothing waits any more. With the condition."""
        assert self._shared
        self._loop.forget(self._sock.fileno())
        self._is_watched = False
        if lost:
            self._lose()
        self._shared.notify_all()

    def _tell_end(self) -> None:
        if self._on_end and not self._is_watched:
            on_end, self._on_end = self._on_end, None
            if self._file:
                self._file.close()
            on_end(not self._lost)

    # Both, holding the condition

    def _lose(self) -> None:
        self._lost = True
        while self._waiting:
            self._close(self._waiting.popleft())

    def _close(self, part: memoryview | Segment) -> None:
        if isinstance(part, Segment) and part.close:
            with contextlib.suppress(OSError):
                os.close(part.fd)
