# SPDX-License-Identifier: BSD-3-Clause
"""Hand-offs in an asyncio program: `Intake` feeds any loop, `serve` is a whole worker."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import Awaitable, Callable

from .queue import Handoff, HandoffQueue, QueueClosed
from .record import Reason, RecordError
from .sources import PAUSE, HandoffListener, Sources, find_sources, may_go_on

log = logging.getLogger("fdworker")
Handler = Callable[[Handoff, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
BATCH = 8  # hand-offs taken in one turn of the loop: siblings want some too
ANNOUNCE_AFTER = 5.0  # seconds until lighttpd is told that an answer will take its time
LINGER = 5.0  # seconds for a client to close its side, as lighttpd gives it


class Intake:
    """Receives hand-offs in the running loop and gives each to `on_handoff`.

    `on_handoff` owns what it gets. `drained` is set when the inherited queue has ended. pause()
    and resume() may be called at any time, so that a full worker leaves requests to its siblings.
    """

    def __init__(self, sources: Sources, on_handoff: Callable[[Handoff], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._sources = sources
        self._on_handoff = on_handoff
        self._queues: set[HandoffQueue] = set()
        self._resting: set[HandoffQueue | HandoffListener] = set()
        self._paused = False
        self.drained = asyncio.Event()
        for listener in sources.handoff_listeners:
            self._watch(listener)
        if sources.queue:
            self._add(sources.queue)

    def _watch(self, source: HandoffQueue | HandoffListener) -> None:
        if source in self._resting:
            return
        if isinstance(source, HandoffListener):
            self._loop.add_reader(source.fileno(), self._accept, source)
        elif not self._paused:
            self._loop.add_reader(source.fileno(), self._receive, source)

    def _rest(self, source: HandoffQueue | HandoffListener) -> None:
        """No descriptor was free for what comes from there."""
        self._loop.remove_reader(source.fileno())
        self._resting.add(source)
        self._loop.call_later(PAUSE, self._end_rest, source)

    def _end_rest(self, source: HandoffQueue | HandoffListener) -> None:
        if source.fileno() < 0:  # closed by stop()
            return
        if may_go_on(source):
            self._resting.discard(source)
            self._watch(source)
        else:
            self._loop.call_later(PAUSE, self._end_rest, source)

    def _accept(self, listener: HandoffListener) -> None:
        try:
            if queue := listener.accept():
                self._add(queue)
        except OSError as error:
            log.error("cannot accept a server's connection: %s", error)
            self._rest(listener)

    def _add(self, queue: HandoffQueue) -> None:
        queue.hello()
        self._queues.add(queue)
        self._watch(queue)

    def _receive(self, queue: HandoffQueue) -> None:
        for _ in range(BATCH):
            if self._paused:
                return
            try:
                handoff = queue.receive()
            except RecordError as error:
                log.error("hand-off refused: %s", error)
                if error.reason is Reason.TRUNCATED_FDS:
                    return self._rest(queue)
                continue
            except QueueClosed:
                return self._remove(queue)
            if handoff is None:
                return
            self._on_handoff(handoff)

    def _remove(self, queue: HandoffQueue) -> None:
        self._loop.remove_reader(queue.fileno())
        self._queues.discard(queue)
        if queue is self._sources.queue:
            self.drained.set()

    def pause(self) -> None:
        self._paused = True
        for queue in self._queues:
            self._loop.remove_reader(queue.fileno())

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            for queue in self._queues:
                self._watch(queue)

    def stop(self) -> None:
        """No more hand-offs. Sockets already received can still be given back."""
        self.pause()
        for listener in self._sources.handoff_listeners:
            self._loop.remove_reader(listener.fileno())
            listener.close()


async def open_streams(handoff: Handoff) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Reader and writer on a handed-off socket; the reader begins with the request's head."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    reader.feed_data(handoff.data)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, handoff.sock)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def _end(handoff: Handoff, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ends the connection once the client has the response. With unread bytes close() would send a
    reset, which overtakes it: so what still comes is read and dropped for a while."""
    try:
        writer.transport.set_write_buffer_limits(0)
        await writer.drain()  # all of it
        if not writer.transport.is_closing():
            writer.write_eof()
            handoff.done()
            await asyncio.wait_for(_drop(reader), LINGER)
    except (OSError, asyncio.TimeoutError):
        pass  # clients leave, or stay


async def _drop(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


async def serve(
    handler: Handler,
    *,
    listen: str | None = None,
    limit: int = 10000,
    grace: float = 30.0,
    write_timeout: float = 360.0,
) -> None:
    """Runs `handler(handoff, reader, writer)` as a task for each hand-off.

    Returns after lighttpd has closed the queue or SIGTERM has come, and all tasks are done; tasks
    that need longer than `grace` seconds are cancelled. At `limit` tasks it stops receiving. When the
    handler returns, the client has `write_timeout` seconds to receive what was written; then the
    connection ends. Wait for `writer.drain()` in the handler, and limit that and reading as you like.
    """
    tasks: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()

    async def answer(handoff: Handoff) -> None:
        announcement = loop.call_later(ANNOUNCE_AFTER, handoff.taken)
        writer = None
        try:
            reader, writer = await open_streams(handoff)
            try:
                await handler(handoff, reader, writer)
            except OSError:
                raise
            except Exception:
                log.exception("hand-off %d: the handler failed", handoff.id)
            await asyncio.wait_for(_end(handoff, reader, writer), write_timeout + LINGER)
        except (OSError, asyncio.TimeoutError) as error:
            log.info("hand-off %d: %s", handoff.id, error)  # clients leave
        finally:
            announcement.cancel()
            handoff.done()
            if writer:
                writer.transport.abort()
            else:
                handoff.close()

    def begin(handoff: Handoff) -> None:
        task = asyncio.create_task(answer(handoff))
        tasks.add(task)
        task.add_done_callback(end)
        if len(tasks) >= limit:
            intake.pause()

    def end(task: asyncio.Task[None]) -> None:
        tasks.discard(task)
        if not intake.drained.is_set():
            intake.resume()

    intake = Intake(find_sources(listen).require(), begin)
    loop.add_signal_handler(signal.SIGTERM, intake.drained.set)
    await intake.drained.wait()
    intake.stop()
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=grace)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
