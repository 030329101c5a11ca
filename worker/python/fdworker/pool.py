# SPDX-License-Identifier: BSD-3-Clause
"""Threads for what blocks."""

from __future__ import annotations

import queue
from threading import Lock, Thread
from typing import Callable, Optional

Job = Callable[[], None]


class Pool:
    """A fixed number of threads. They do not keep the process from ending (unlike those of
    concurrent.futures): a drain has its grace, whatever a job does.

    `next_job` is asked, by a thread that has become free, after is_full() was true and no other job
    waits: under load each thread fetches its own next job, and the loop sleeps. When there is none
    `on_free` is called, by that thread: submit again.
    """

    def __init__(
        self, threads: int, next_job: Callable[[], Optional[Job]], on_free: Callable[[], None]
    ) -> None:
        self._threads = threads
        self._next_job = next_job
        self._on_free = on_free
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._lock = Lock()
        self._unfinished = 0  # jobs that wait or run
        self._was_full = False

    def start(self) -> None:
        """To be called when signals have their handlers: what comes while threads are started would
        end the process."""
        for number in range(self._threads):
            Thread(target=self._run, name=f"fdworker-{number}", daemon=True).start()

    def submit(self, job: Job) -> None:
        """`job` must not raise."""
        with self._lock:
            self._unfinished += 1
        self._jobs.put(job)

    def is_full(self) -> bool:
        """Whether a further job would wait."""
        with self._lock:
            self._was_full = self._unfinished >= self._threads
            return self._was_full

    def _run(self) -> None:
        while True:
            job: Job | None = self._jobs.get()
            while job:
                job()
                job = self._fetch()

    def _fetch(self) -> Job | None:
        with self._lock:
            fetches = self._was_full and self._unfinished <= self._threads
            if not fetches:
                self._unfinished -= 1
                return None
        if job := self._next_job():
            return job
        with self._lock:
            self._unfinished -= 1
        self._on_free()
        return None
