# SPDX-License-Identifier: BSD-3-Clause
"""The loop of a worker that blocks elsewhere: it receives hand-offs, and never waits for anything
but events. What runs on it: blocking.py, and the WSGI runner."""

from __future__ import annotations

import contextlib
import logging
import select
import signal
import socket
import time
from collections import deque
from functools import partial
from typing import Callable, Iterator, Union

from .queue import Handoff, HandoffQueue, QueueClosed
from .record import Reason, RecordError
from .sources import PAUSE, HandoffListener, Sources, may_go_on

log = logging.getLogger("fdworker")
TICK = 0.5  # seconds
Source = Union[HandoffQueue, HandoffListener]


class Loop:
    """Gives each hand-off to `on_handoff`, which owns it.

    `on_tick` is called every TICK seconds while is_busy() says so. All is called in the thread of
    run(); only call() and take() may be called by others.
    """

    def __init__(
        self,
        sources: Sources,
        on_handoff: Callable[[Handoff], None],
        on_tick: Callable[[], None],
        is_busy: Callable[[], bool],
    ) -> None:
        self.drained = False  # by the end of the inherited queue, or SIGTERM
        self._sources = sources
        self._on_handoff = on_handoff
        self._on_tick = on_tick
        self._is_busy = is_busy
        self._next_tick = 0.0
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._queues: set[HandoffQueue] = set()
        self._paused = False
        self._resting: dict[Source, float] = {}  # until when, at least
        self._calls: deque[Callable[[], None]] = deque()
        self._woken, self._wakes = socket.socketpair()
        self._woken.setblocking(False)
        self._wakes.setblocking(False)
        self.watch(self._woken.fileno(), select.EPOLLIN, self._run_calls)

    def start(self) -> None:
        """Begins to receive."""
        for listener in self._sources.handoff_listeners:
            self._open(listener)
        if self._sources.queue:
            self._add(self._sources.queue)

    def run(self, until: Callable[[], bool]) -> None:
        while not until():
            timeout = TICK if self._resting or self._is_busy() else None
            for fd, events in self._epoll.poll(timeout):
                if callback := self._callbacks.get(fd):
                    callback(events)
            if timeout and time.monotonic() >= self._next_tick:
                self._tick()

    def stop(self) -> None:
        """Receives no more. Sockets already received can still be given back."""
        self.pause()
        for listener in self._sources.handoff_listeners:
            if listener not in self._resting:
                self.forget(listener.fileno())
            listener.close()
        self._resting.clear()

    def close(self) -> None:
        self._epoll.close()
        self._woken.close()
        self._wakes.close()

    @contextlib.contextmanager
    def sigterm_drains(self) -> Iterator[None]:
        """All that the signal does is to wake the loop: a response is never cut in two. In this
        order, or one that comes in between would be lost."""

        def drain(*_: object) -> None:
            self.drained = True

        old_wakeup = signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        old_handler = signal.signal(signal.SIGTERM, drain)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, old_handler)
            signal.set_wakeup_fd(old_wakeup)

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Calls `callback(events)` when there are any. forget() before the fd is closed: with the
        server's descriptor the connection lives on, and would be reported for ever."""
        self._callbacks[fd] = callback
        self._epoll.register(fd, events)

    def forget(self, fd: int) -> None:
        if self._callbacks.pop(fd, None):
            self._epoll.unregister(fd)

    def call(self, function: Callable[[], None]) -> None:
        """From any thread: calls `function` in the loop's."""
        self._calls.append(function)
        with contextlib.suppress(OSError):  # full: it wakes anyway; closed: nobody is left to call it
            self._wakes.send(b"x")

    def _run_calls(self, _: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._woken.recv(4096):
                pass
        while self._calls:
            self._calls.popleft()()

    def _tick(self) -> None:
        now = time.monotonic()
        self._next_tick = now + TICK
        for source, end in list(self._resting.items()):
            if now >= end and source.fileno() >= 0:
                self._end_rest(source)
        self._on_tick()

    def pause(self) -> None:
        """Receives nothing, so that siblings do. To be called again without harm, as resume()."""
        if not self._paused:
            self._paused = True
            for queue in self._queues:
                self.forget(queue.fileno())

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            for queue in self._queues:
                self._open(queue)

    def take(self) -> Handoff | None:
        """From any thread, while paused: the next hand-off, if there is one now."""
        for queue in () if self.drained else list(self._queues):
            if queue in self._resting:
                continue
            try:
                if handoff := queue.receive():
                    return handoff
            except RecordError as error:
                self.call(partial(self._refused, queue, error))
            except (QueueClosed, OSError):
                pass  # the loop will see it, too
        return None

    def _open(self, source: Source) -> None:
        if source in self._resting:
            return
        if isinstance(source, HandoffListener):
            self.watch(source.fileno(), select.EPOLLIN, partial(self._accept, source))
        elif not self._paused:
            self.watch(source.fileno(), select.EPOLLIN, partial(self._receive, source))

    def _rest(self, source: Source) -> None:
        """No descriptor was free for what comes from there."""
        self.forget(source.fileno())
        self._resting[source] = time.monotonic() + PAUSE

    def _end_rest(self, source: Source) -> None:
        if may_go_on(source):
            del self._resting[source]
            self._open(source)
        else:
            self._resting[source] = time.monotonic() + PAUSE

    def _accept(self, listener: HandoffListener, _: int) -> None:
        try:
            if queue := listener.accept():
                self._add(queue)
        except OSError as error:
            log.error("cannot accept a server's connection: %s", error)
            self._rest(listener)

    def _add(self, queue: HandoffQueue) -> None:
        queue.hello()
        self._queues.add(queue)
        self._open(queue)

    def _refused(self, queue: HandoffQueue, error: RecordError) -> None:
        log.error("hand-off refused: %s", error)
        if error.reason is Reason.TRUNCATED_FDS:
            self._rest(queue)

    def _receive(self, queue: HandoffQueue, _: int) -> None:
        if self.drained or self._paused:  # since it became readable
            return
        try:
            handoff = queue.receive()
        except RecordError as error:
            self._refused(queue, error)
        except QueueClosed:
            self.forget(queue.fileno())
            self._queues.discard(queue)
            self.drained = self.drained or queue is self._sources.queue
        else:
            if handoff:
                self._on_handoff(handoff)
