# SPDX-License-Identifier: BSD-3-Clause
"""A client's socket in an asyncio loop, without a transport: nothing is read that nobody asked for,
so that the socket can go back to lighttpd at any time, and every wait has an end."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from typing import Callable

READ_SIZE = 65536  # bytes of one recv()
JOIN_MAX = 65536  # bytes of a response that are worth copying together for one send()


class TooSlow(Exception):
    """The client has kept us waiting longer than it may."""


class Patience:
    """How long a client may keep us waiting: `idle` seconds at a time, and in all as many, plus a
    second for each `rate` bytes that have moved (0: any number)."""

    __slots__ = ("_idle", "_rate", "_waited", "_moved")

    def __init__(self, idle: float, rate: int) -> None:
        self._idle = idle
        self._rate = rate
        self._waited = 0.0
        self._moved = 0

    def left(self) -> float:
        """Seconds that the next wait may last."""
        if not self._rate:
            return self._idle
        return min(self._idle, self._idle + self._moved / self._rate - self._waited)

    def count(self, waited: float, moved: int) -> None:
        self._waited += waited
        self._moved += moved


class ClientStream:
    """Reads and writes without blocking. The socket stays its owner's: call lose() before it is
    closed or given away.

    ended      the client has ended its side: nothing more can be read
    lost       broken, or not ours any more: nothing more can be read or written
    queued     bytes that wait for the client to receive
    written    bytes that the kernel has taken
    """

    def __init__(self, sock: socket.socket, patience: Patience, window: int) -> None:
        self._loop = asyncio.get_running_loop()
        self.time = self._loop.time
        self._sock = sock
        self._fd = sock.fileno()
        self._patience = patience  # of writing
        self._window = window
        self._readers: list[asyncio.Future[None]] = []
        self._watchers = 0  # those who wait for the socket, and not only for wake()
        self._watching = False
        self._callback: Callable[[], None] | None = None
        self._queue: deque[memoryview] = deque()
        self._writers: list[tuple[int, asyncio.Future[None]]] = []
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.ended = False
        self.lost = False
        self.queued = 0
        self.written = 0

    # --- reading ---

    def read_now(self) -> bytes | None:
        """What is there; b"" at the end, None if nothing is there now."""
        if self.ended or self.lost:
            return b""
        try:
            data = self._sock.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            self.lose()
            return b""
        if not data:
            self.ended = True
        return data

    async def readable(self, timeout: float | None = None, *, watch: bool = True) -> None:
        """Waits until read_now() has something (unless told not to `watch` for that), or wake() is
        called. Raises TooSlow."""
        waiter = self._loop.create_future()
        timer = self._loop.call_later(timeout, _expire, waiter) if timeout is not None else None
        self._readers.append(waiter)
        self._watchers += watch
        self._watch()
        try:
            await waiter
        finally:
            if timer:
                timer.cancel()
            self._readers.remove(waiter)
            self._watchers -= watch
            self._watch()

    async def read(self, timeout: float) -> bytes:
        """What comes next; b"" at the end. Raises TooSlow after `timeout` seconds of nothing."""
        if timeout <= 0:
            raise TooSlow
        while (data := self.read_now()) is None:
            await self.readable(timeout)
        return data

    def wake(self) -> None:
        """Ends all calls of readable()."""
        for waiter in self._readers:
            if not waiter.done():
                waiter.set_result(None)

    def listen(self, callback: Callable[[], None] | None) -> None:
        """Has this called whenever read_now() has something; None: no more."""
        self._watchers += (callback is not None) - (self._callback is not None)
        self._callback = callback
        self._watch()

    def _on_readable(self) -> None:
        self.wake()
        if self._callback:
            self._callback()

    def _watch(self) -> None:
        """Watches the socket while somebody waits. At its end it would be readable for ever."""
        wanted = self._watchers > 0 and not self.ended and not self.lost
        if wanted and not self._watching:
            self._loop.add_reader(self._fd, self._on_readable)
        elif self._watching and not wanted:
            self._loop.remove_reader(self._fd)
        self._watching = wanted

    # --- writing ---

    def write(self, *parts: bytes) -> None:
        """Sends the parts, now or when the client has received what was before them. To a client
        that is lost nothing is sent."""
        if self.lost:
            return
        size = sum(map(len, parts))
        sent = 0
        if not self._queue and size:
            try:
                if len(parts) == 1:
                    sent = self._sock.send(parts[0])
                elif size <= JOIN_MAX:
                    parts = (b"".join(parts),)
                    sent = self._sock.send(parts[0])
                else:
                    sent = self._sock.sendmsg(parts)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                return self.lose()
            self.written += sent
            if sent == size:
                return
            self._begin_waiting()
        self.queued += size - sent
        for part in parts:
            if sent < len(part):
                self._queue.append(memoryview(part)[sent:])
                sent = 0
            else:
                sent -= len(part)

    def _begin_waiting(self) -> None:
        self._since = self._loop.time()
        self._loop.add_writer(self._fd, self._on_writable)
        if not self._timer:
            self._timer = self._loop.call_later(self._patience.left(), self._on_timer)

    def _on_writable(self) -> None:
        parts = [self._queue[at] for at in range(min(16, len(self._queue)))]
        try:
            sent = self._sock.sendmsg(parts)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            return self.lose()
        self.written += sent
        self.queued -= sent
        now = self._loop.time()
        self._patience.count(now - self._since, sent)
        self._since = now
        while self._queue and sent >= len(self._queue[0]):
            sent -= len(self._queue.popleft())
        if sent:
            self._queue[0] = self._queue[0][sent:]
        if not self._queue:
            self._stop_writing()
        self._wake_writers()

    def _on_timer(self) -> None:
        self._timer = None
        left = self._patience.left() - (self._loop.time() - self._since)
        if left > 0:
            self._timer = self._loop.call_later(left, self._on_timer)
        else:
            self.lose()

    def _stop_writing(self) -> None:
        self._loop.remove_writer(self._fd)
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def is_full(self) -> bool:
        """Whether room() would wait."""
        return self.queued > self._window

    async def room(self) -> None:
        """Waits until little of what was written still waits, or the client is lost."""
        await self._until_queued(self._window // 4)

    async def flushed(self) -> None:
        """Waits until the kernel has all that was written, or the client is lost."""
        await self._until_queued(0)

    async def _until_queued(self, size: int) -> None:
        if self.queued <= size:
            return
        entry = size, self._loop.create_future()
        self._writers.append(entry)
        try:
            await entry[1]
        finally:
            self._writers.remove(entry)

    def _wake_writers(self) -> None:
        for size, waiter in self._writers:
            if self.queued <= size and not waiter.done():
                waiter.set_result(None)

    # --- the end ---

    def lose(self) -> None:
        """The connection is broken, or not ours any more: drops what waits for the client, wakes who
        waits for it, and has the loop forget the socket."""
        if self.lost:
            return
        self.lost = True
        if self._queue:
            self._stop_writing()
            self._queue.clear()
            self.queued = 0
        self._watch()
        self.wake()
        self._wake_writers()
        if self._callback:
            self._loop.call_soon(self._callback)

    def reset_on_close(self) -> None:
        """Lets close() drop what the kernel still has for the client."""
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TooSlow())
