# SPDX-License-Identifier: BSD-3-Clause
"""Threads for what blocks."""

from __future__ import annotations

import queue
from threading import Lock, Thread
from typing import Callable


class Pool:
    """A fixed number of threads. They do not keep the process from ending (unlike those of
    concurrent.futures): a drain has its grace, whatever a job does.

    `on_free` is called, by the thread that has become free, once after each is_full() that was true.
    """

    def __init__(self, threads: int, on_free: Callable[[], None]) -> None:
        self._threads = threads
        self._on_free = on_free
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = Lock()
        self._unfinished = 0  # jobs that wait or run
        self._is_waited_for = False
        for number in range(threads):
            Thread(target=self._run, name=f"fdworker-{number}", daemon=True).start()

    def submit(self, job: Callable[[], None]) -> None:
        """`job` must not raise."""
        with self._lock:
            self._unfinished += 1
        self._jobs.put(job)

    def is_full(self) -> bool:
        """Whether a further job would wait."""
        with self._lock:
            self._is_waited_for = self._unfinished >= self._threads
            return self._is_waited_for

    def _run(self) -> None:
        while True:
            self._jobs.get()()
            with self._lock:
                self._unfinished -= 1
                tells = self._is_waited_for and self._unfinished < self._threads
                if tells:
                    self._is_waited_for = False
            if tells:
                self._on_free()
