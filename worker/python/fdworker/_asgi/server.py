# SPDX-License-Identifier: BSD-3-Clause
"""The running worker: where connections come from, how many there are, and the drain."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import signal
import socket
import threading
import time
from email.utils import formatdate
from typing import Any, Coroutine, Iterator

import h11

from ..aio import Intake
from ..queue import Handoff
from ..sources import PAUSE, Sources
from .client import Client, believed_proxies
from .http1 import Http1
from .lifespan import Lifespan
from .loading import Application
from .options import Options
from .websocket import WebSocketSession, is_handshake

ANNOUNCE_AFTER = 5.0  # seconds until lighttpd is told that an answer will take its time
LATE = 5.0  # seconds for cancelled requests, and for the application's shutdown, to end
ACCEPT_BATCH = 8  # connections accepted in one turn of the loop: siblings want some too

log = logging.getLogger("fdworker.asgi")


class Server:
    """One worker process. serve() is its life.

    state       what requests find in scope["state"]
    sessions    WebSocket sessions whose application is running
    draining    no new requests; those in flight finish
    """

    def __init__(
        self, app: Application, asgi_version: str, options: Options, sources: Sources
    ) -> None:
        self.app = app
        self.asgi_version = asgi_version
        self.options = options
        self.sessions: set[WebSocketSession] = set()
        self.draining = False
        self._sources = sources
        self._lifespan = Lifespan(app, options.lifespan, asgi_version)
        self.state: dict[str, Any] = self._lifespan.state
        self._context = contextvars.copy_context()  # of requests: none sees another's variables
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle: set[asyncio.Task[Any]] = set()  # between requests
        self._running = 0  # applications
        self._begun = 0  # requests, in all
        self._silent: dict[Client, float] = {}  # since when its request has had no byte of an answer
        self._sweep: asyncio.TimerHandle | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._headers_made = -1

    async def serve(self) -> None:
        """Raises LifespanFailed."""
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        await self._lifespan.startup()
        self._intake = Intake(self._sources, self._hand_off)
        for listener in self._sources.stream_listeners:
            listener.setblocking(False)
            self._loop.add_reader(listener, self._accept, listener)
        ends = [asyncio.create_task(event.wait()) for event in (self._stop, self._intake.drained)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        await self._drain()
        await self._lifespan.shutdown(LATE)

    # --- connections ---

    def _hand_off(self, handoff: Handoff) -> None:
        try:
            client = Client(handoff.sock, self.options, handoff)
        except Exception:
            log.exception("hand-off %d: fault of fdworker.asgi", handoff.id)
            return handoff.close()
        self._begin(client)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPT_BATCH):
            if len(self._tasks) >= self.options.limit:
                return
            try:
                sock, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                return
            except OSError as error:  # no descriptor is free
                log.error("cannot accept a connection: %s", error)
                self._loop.remove_reader(listener)
                self._loop.call_later(PAUSE, self._accept_again, listener)
                return
            sock.setblocking(False)
            proxies = believed_proxies(listener, sock, self.options)
            self._begin(Client(sock, self.options, None, proxies))

    def _accept_again(self, listener: socket.socket) -> None:
        if not self.draining and len(self._tasks) < self.options.limit:  # else _resume() does it
            self._loop.add_reader(listener, self._accept, listener)

    def _begin(self, client: Client) -> None:
        self.spawn(Http1(self, client).run())
        if len(self._tasks) >= self.options.limit:
            self._pause()

    def _pause(self) -> None:
        """Full: what comes is left to siblings."""
        self._intake.pause()
        for listener in self._sources.stream_listeners:
            self._loop.remove_reader(listener)

    def _resume(self) -> None:
        self._intake.resume()
        for listener in self._sources.stream_listeners:
            self._loop.add_reader(listener, self._accept, listener)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs this beside everything else; the drain waits for it."""
        task: asyncio.Task[None] = self._context.run(asyncio.create_task, work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        full = len(self._tasks) >= self.options.limit
        self._tasks.discard(task)
        if full and len(self._tasks) < self.options.limit and not self.draining:
            self._resume()
        if not task.cancelled() and (error := task.exception()):
            log.error("fault of fdworker.asgi", exc_info=error)

    # --- requests ---

    def is_busy(self) -> bool:
        """Whether --limit-concurrency is reached."""
        limit = self.options.limit_concurrency
        return limit is not None and self._running >= limit

    def is_websocket(self, request: h11.Request) -> bool:
        return (self.options.ws != "none" and self.options.interface != "wsgi"
                and is_handshake(request))  # fmt: skip

    def requests_began(self, client: Client) -> None:
        """The application starts to work on it."""
        self._running += 1
        self._begun += 1
        if client.handoff:
            self._silent[client] = self._loop.time()
            if not self._sweep:
                self._sweep = self._loop.call_later(ANNOUNCE_AFTER, self._announce)
        if self._begun == self.options.limit_max_requests:
            self._stop.set()

    def response_began(self, client: Client) -> None:
        """Its first bytes are written, and more will come."""
        self._silent.pop(client, None)
        client.begun()

    def requests_ended(self, client: Client) -> None:
        self._running -= 1
        self._silent.pop(client, None)

    def _announce(self) -> None:
        """Tells lighttpd of answers that take their time, or it would answer in our place."""
        self._sweep = None
        now = self._loop.time()
        while self._silent:
            client, since = next(iter(self._silent.items()))
            if (left := since + ANNOUNCE_AFTER - now) > 0:
                self._sweep = self._loop.call_later(max(left, 0.5), self._announce)
                return
            del self._silent[client]
            client.begun()

    @contextlib.contextmanager
    def idle(self, is_idle: bool) -> Iterator[None]:
        """The current task is between requests: the drain need not wait for it."""
        task = asyncio.current_task()
        if not is_idle or task is None:
            yield
            return
        self._idle.add(task)
        if self.draining:
            task.cancel()
        try:
            yield
        finally:
            self._idle.discard(task)

    def default_headers(self) -> list[tuple[bytes, bytes]]:
        now = int(time.time())
        if now != self._headers_made:
            self._headers_made = now
            self._headers = list(self.options.header)
            if self.options.server_header:
                self._headers.insert(0, (b"server", b"fdworker"))
            if self.options.date_header:
                self._headers.insert(0, (b"date", formatdate(now, usegmt=True).encode()))
        return self._headers

    # --- the end ---

    async def _drain(self) -> None:
        self.draining = True
        self._intake.stop()
        for listener in self._sources.stream_listeners:
            self._loop.remove_reader(listener)
            listener.close()
        for task in list(self._idle):
            task.cancel()
        for session in list(self.sessions):
            session.shut_down()
        late = await self._wait_for_tasks(self.options.timeout_graceful_shutdown)
        if late:
            log.error("Cancel %d running task(s), timeout graceful shutdown exceeded", len(late))
            for task in late:
                task.cancel()
            await self._wait_for_tasks(LATE)
            self._leave_threads()

    async def _wait_for_tasks(self, timeout: float) -> set[asyncio.Task[None]]:
        """Those that have not ended by then. Others may begin meanwhile."""
        end = self._loop.time() + timeout
        while self._tasks and (left := end - self._loop.time()) > 0:
            await asyncio.wait(self._tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        return set(self._tasks)

    def _leave_threads(self) -> None:
        """Threads cannot be cancelled, and Python would wait for them. Applications that start some
        and do not end in time get no lifespan.shutdown."""
        busy = [t for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon]
        if busy:
            log.error("%d thread(s) are still at work. Exiting.", len(busy))
            logging.shutdown()
            os._exit(0)
