# SPDX-License-Identifier: BSD-3-Clause
"""The plain loop: one hand-off after the other, or several in threads. Standard library only."""

from __future__ import annotations

import logging
import selectors
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import Callable

from .queue import Handoff, HandoffQueue, QueueClosed
from .record import Reason, RecordError
from .sources import PAUSE, HandoffListener, find_sources, may_go_on

log = logging.getLogger("fdworker")
Handler = Callable[[Handoff], None]


def serve(
    handler: Handler, *, listen: str | None = None, threads: int = 0, timeout: float = 60.0
) -> None:
    """Calls `handler` for each hand-off until lighttpd closes the queue or SIGTERM comes.

    handler   answers the request. Its socket has `timeout` (seconds) set, so `recv` and `sendall`
              may be used as they are. It is closed afterwards unless it was given back.
    listen    path of a unix socket for lighttpd to connect to, instead of the queue on fd 0
    threads   how many requests are answered at once; 0: one, in the calling thread

    To be called in the main thread. Returns when all responses are out.
    """
    Loop(handler, listen, threads, timeout).run()


class Loop:
    def __init__(
        self, handler: Handler, listen: str | None, threads: int, timeout: float
    ) -> None:
        self._handler = handler
        self._timeout = timeout
        self._sources = find_sources(listen).require()
        self._pool = ThreadPoolExecutor(threads) if threads else None
        self._free = BoundedSemaphore(threads or 1)
        self._selector = selectors.DefaultSelector()
        self._paused: list[HandoffQueue | HandoffListener] = []
        self._pause_end = 0.0
        self._draining = False

    def run(self) -> None:
        woken, wakes = socket.socketpair()
        wakes.setblocking(False)
        self._selector.register(woken, selectors.EVENT_READ, None)
        for listener in self._sources.handoff_listeners:
            self._watch(listener)
        if self._sources.queue:
            self._add(self._sources.queue)
        # All that a signal does is to write a byte to `wakes`: a response is never cut in two. In
        # this order, or one that comes in between would be lost.
        old_wakeup = signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        old_handler = signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            while not self._draining:
                pause = max(0.0, self._pause_end - time.monotonic()) if self._paused else None
                for key, _ in self._selector.select(pause):
                    self._ready(key.data)
                if self._paused and time.monotonic() >= self._pause_end:
                    self._end_pause()
        finally:
            signal.signal(signal.SIGTERM, old_handler)
            signal.set_wakeup_fd(old_wakeup)
            if self._pool:
                self._pool.shutdown()
            woken.close()
            wakes.close()

    def _ready(self, source: HandoffQueue | HandoffListener | None) -> None:
        if source is None:
            self._draining = True
        elif isinstance(source, HandoffListener):
            self._accept(source)
        elif not self._draining:
            self._receive(source)

    def _watch(self, source: HandoffQueue | HandoffListener) -> None:
        self._selector.register(source, selectors.EVENT_READ, source)

    def _pause(self, source: HandoffQueue | HandoffListener) -> None:
        """No descriptor was free for what comes from there."""
        if not self._paused:
            self._pause_end = time.monotonic() + PAUSE
        self._selector.unregister(source)
        self._paused.append(source)

    def _end_pause(self) -> None:
        self._pause_end = time.monotonic() + PAUSE
        for source in list(filter(may_go_on, self._paused)):
            self._paused.remove(source)
            self._watch(source)

    def _accept(self, listener: HandoffListener) -> None:
        try:
            if queue := listener.accept():
                self._add(queue)
        except OSError as error:
            log.error("cannot accept a server's connection: %s", error)
            self._pause(listener)

    def _add(self, queue: HandoffQueue) -> None:
        queue.hello()
        self._watch(queue)

    def _receive(self, queue: HandoffQueue) -> None:
        self._free.acquire()  # takes nothing from the queue that it cannot begin at once
        try:
            handoff = queue.receive()
        except RecordError as error:
            log.error("hand-off refused: %s", error)
            if error.reason is Reason.TRUNCATED_FDS:
                self._pause(queue)
            handoff = None
        except QueueClosed:
            self._selector.unregister(queue)
            self._draining = queue is self._sources.queue
            handoff = None
        if handoff is None:
            self._free.release()
        elif self._pool:
            self._pool.submit(self._answer, handoff)
        else:
            self._answer(handoff)

    def _answer(self, handoff: Handoff) -> None:
        try:
            with handoff:
                handoff.sock.settimeout(self._timeout)
                self._handler(handoff)
        except OSError as error:
            log.info("hand-off %d: %s", handoff.id, error)  # clients leave
        except Exception:
            log.exception("hand-off %d: the handler failed", handoff.id)
        finally:
            self._free.release()
