# SPDX-License-Identifier: BSD-3-Clause
"""The plain loop: one hand-off after the other, or several in threads. Standard library only."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Callable

from .at_work import AtWork
from .loop import Loop
from .pool import Job, Pool
from .queue import Handoff
from .sources import find_sources

log = logging.getLogger("fdworker")
Handler = Callable[[Handoff], None]


def serve(
    handler: Handler,
    *,
    listen: str | None = None,
    threads: int = 0,
    timeout: float = 60.0,
    grace: float = 30.0,
) -> None:
    """Calls `handler` for each hand-off until lighttpd closes the queue or SIGTERM comes.

    handler   answers the request. Its socket has `timeout` (seconds) set, so `recv` and `sendall`
              may be used as they are. It is closed afterwards unless it was given back.
    listen    path of a unix socket for lighttpd to connect to, instead of the queue on fd 0
    threads   how many requests are answered at once; 0: one, in the calling thread. With threads
              the server is told `taken` of what a handler works on for long
    grace     seconds for the threads to finish at the end; then their connections are ended

    To be called in the main thread. Returns when all responses are out, or after `grace`.
    """
    if threads < 0:
        raise ValueError(f"threads={threads}: must be 0 or more")
    Server(handler, listen, threads, timeout, grace).run()


class Server:
    def __init__(
        self, handler: Handler, listen: str | None, threads: int, timeout: float, grace: float
    ) -> None:
        self._handler = handler
        self._timeout = timeout
        self._grace = grace
        self._at_work = AtWork()
        sources = find_sources(listen).require()
        begin = self._begin if threads else self._answer
        self._loop = Loop(sources, begin, self._at_work.tell, lambda: bool(self._at_work))
        self._pool = Pool(threads, self._next, lambda: self._loop.call(self._loop.resume))

    def run(self) -> None:
        loop = self._loop
        with loop.sigterm_drains():
            self._pool.start()
            loop.start()
            loop.run(lambda: loop.drained)
            loop.stop()
            end = time.monotonic() + self._grace
            loop.run(lambda: not self._at_work or time.monotonic() > end)
        if self._at_work:
            log.error("not all responses ended within %g seconds", self._grace)
            self._at_work.abandon()
        loop.close()

    def _begin(self, handoff: Handoff) -> None:
        """Takes nothing from the queue that it cannot begin at once: siblings may."""
        self._pool.submit(self._job(handoff))
        if self._pool.is_full():
            self._loop.pause()

    def _job(self, handoff: Handoff) -> Job:
        self._at_work.add(handoff)
        return partial(self._answer, handoff)

    def _next(self) -> Job | None:
        handoff = self._loop.take()
        return self._job(handoff) if handoff else None

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
            self._at_work.remove(handoff)
            if self._loop.drained:
                self._loop.call(lambda: None)  # it waits for the last one
