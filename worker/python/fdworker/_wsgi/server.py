# SPDX-License-Identifier: BSD-3-Clause
"""The life of a request in the WSGI runner.

                    body arrives                whole                  ended
    hand-off ──▶ RECEIVING (loop) ──▶ ANSWERING (a thread) ──▶ (what is left: loop) ──▶ returned
                    │ too long, too slow, bad        │ cannot be completed                 or closed
                    └──▶ refused                     └──▶ broken off

The loop never waits for anything but events, and a thread never for a client: a thread begins when
the body is here, and is free when the application has said everything.
"""

from __future__ import annotations

import io
import logging
import select
import socket
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable

import h11

from .answer import Answer, Application, FileWrapper, encode_head
from ..at_work import AtWork
from .environ import make_environ
from ..loop import Loop
from .output import ClientLost, Output, OutputLimits
from ..pool import Job, Pool
from ..queue import Handoff
from .request import Refused, next_event, read_head
from ..sources import Sources

log = logging.getLogger("fdworker")
RECEIVE_MAX = 65536  # bytes that are read at once
RATE_MIN = 1024  # bytes a second by which a request's time is extended
CLIENT_LEFT = 499  # what the access log shows of those who left before the answer

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True)
class Limits:
    """Times in seconds, sizes in bytes."""

    threads: int
    connections: int
    body: int
    body_memory: int
    read_idle: float
    request_time: float  # and one more for RATE_MIN bytes that arrive
    output: OutputLimits
    grace: float


class Connection:
    """One hand-off. Owned by the loop while RECEIVING, then by a thread, and by whoever ends it."""

    def __init__(self, handoff: Handoff, limits: Limits) -> None:
        self.handoff = handoff
        self.parser = h11.Connection(h11.SERVER)
        self.request: h11.Request | None = None
        self.body: Any = None
        self.body_length: int | None = None
        self.output: Output | None = None
        self.answer: Answer | None = None
        self.began = self.last_read = time.monotonic()
        self._limits = limits

    def read_head(self) -> bool:
        """Whether a body is still to be received. Raises Refused."""
        self.request = read_head(self.parser, self.handoff.head)
        event = next_event(self.parser)
        if isinstance(event, h11.EndOfMessage):
            return False
        self.body_length = 0
        for name, value in self.request.headers:
            if name == b"content-length" and int(value) > self._body_max():
                raise Refused(413)
        self.body = tempfile.SpooledTemporaryFile(self._limits.body_memory)
        return True

    def _body_max(self) -> int:
        limit = self.handoff.body_limit
        return self._limits.body if limit is None else min(limit, self._limits.body)

    def read_body(self, data: bytes) -> bool:
        """Takes what the client has sent; whether more is to come. Raises Refused."""
        assert self.body_length is not None
        self.parser.receive_data(data)
        while True:
            event = next_event(self.parser)
            if isinstance(event, h11.Data):
                self.body_length += len(event.data)
                if self.body_length > self._body_max():
                    raise Refused(413)
                self._store(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self.body.seek(0)
                return False
            else:
                return True

    def _store(self, data: bytes) -> None:
        try:
            self.body.write(data)
        except OSError as error:
            log.error("hand-off %d: no place for the body: %s", self.handoff.id, error)
            raise Refused(500) from error

    def unread(self) -> bytes:
        """What was read beyond the request."""
        has_body = self.body_length is not None
        return self.parser.trailing_data[0] if has_body else self.handoff.rest

    def is_late(self, now: float) -> bool:
        """Whether the client takes too long for its request."""
        time_for_body = (self.body_length or 0) / RATE_MIN
        return (
            now - self.last_read > self._limits.read_idle
            or now - self.began > self._limits.request_time + time_for_body
        )


class Server:
    """Runs an application for the hand-offs of `sources`."""

    def __init__(
        self, application: Application, sources: Sources, limits: Limits, *,
        multiprocess: bool, returns: bool,
    ) -> None:  # fmt: skip
        self._application = application
        self._limits = limits
        self._returns = returns
        self._connections: set[Connection] = set()
        self._receiving: set[Connection] = set()
        self._at_work = AtWork()
        self._loop = Loop(sources, self._begin, self._tick, lambda: bool(self._connections))
        self._pool = Pool(
            limits.threads, self._next, lambda: self._loop.call(self._receive_more)
        )
        self._is_full = False
        self._server_environ = {
            "wsgi.multithread": limits.threads > 1,
            "wsgi.multiprocess": multiprocess,
            "wsgi.file_wrapper": FileWrapper,
        }

    def run(self) -> bool:
        """Until drained. False when `grace` was not enough: threads may still be at work."""
        loop = self._loop
        with loop.sigterm_drains():
            self._pool.start()
            loop.start()
            loop.run(lambda: loop.drained)
            loop.stop()
            end = time.monotonic() + self._limits.grace
            loop.run(lambda: not self._connections or time.monotonic() > end)
        late = list(self._connections)
        for connection in late:
            self._break_off(connection)
        return not late

    def _begin(self, handoff: Handoff) -> None:
        if connection := self._read_head(handoff):
            self._submit(connection)
        if self._pool.is_full() or self._has_many():
            self._loop.pause()

    def _next(self) -> Job | None:
        """In a thread that is free, instead of the loop."""
        while not self._has_many() and (handoff := self._loop.take()):
            if connection := self._read_head(handoff):
                return self._job(connection)
        return None

    def _read_head(self, handoff: Handoff) -> Connection | None:
        """The connection, if its request is whole; otherwise it is received, or refused."""
        connection = Connection(handoff, self._limits)
        self._connections.add(connection)
        try:
            if not connection.read_head():
                return connection
        except Refused as refused:
            self._refuse(connection, refused)
        else:
            self._loop.call(partial(self._advance, connection, partial(self._await_body, connection)))
        return None

    def _has_many(self) -> bool:
        self._is_full = len(self._connections) >= self._limits.connections
        return self._is_full

    def _receive_more(self) -> None:
        if not (self._loop.drained or self._has_many() or self._pool.is_full()):
            self._loop.resume()

    def _advance(self, connection: Connection, step: Callable[[], bool]) -> None:
        """step() tells whether more of the body is to come."""
        try:
            if not step():
                self._submit(connection)
        except Refused as refused:
            self._refuse(connection, refused)
        except OSError as error:
            log.info("hand-off %d: %s", connection.handoff.id, error)
            self._lose(connection)

    def _await_body(self, connection: Connection) -> bool:
        handoff = connection.handoff
        if handoff.rest and not connection.read_body(handoff.rest):
            return False
        if connection.parser.they_are_waiting_for_100_continue:
            handoff.sock.send(CONTINUE)
        self._receiving.add(connection)
        self._loop.watch(
            handoff.sock.fileno(), select.EPOLLIN,
            lambda _: self._advance(connection, lambda: self._read(connection)),
        )  # fmt: skip
        return True

    def _read(self, connection: Connection) -> bool:
        try:
            data = connection.handoff.sock.recv(RECEIVE_MAX)
        except BlockingIOError:
            return True
        connection.last_read = time.monotonic()
        return connection.read_body(data)

    def _stop_receiving(self, connection: Connection) -> None:
        if connection in self._receiving:
            self._receiving.discard(connection)
            self._loop.forget(connection.handoff.sock.fileno())

    def _submit(self, connection: Connection) -> None:
        self._stop_receiving(connection)
        self._pool.submit(self._job(connection))

    def _job(self, connection: Connection) -> Job:
        connection.handoff.read_in_full = True
        self._at_work.add(connection.handoff)
        return partial(self._answer, connection)

    def _refuse(self, connection: Connection, refused: Refused) -> None:
        """Answers instead of the application, and ends the connection."""
        self._stop_receiving(connection)
        handoff = connection.handoff
        body = b"" if handoff.head.startswith(b"HEAD ") else f"{refused}\n".encode()
        try:
            handoff.sock.send(refusal(refused, body))
        except OSError as error:
            log.info("hand-off %d: %s", handoff.id, error)
        handoff.close(refused.status, len(body))
        self._forget(connection)

    def _lose(self, connection: Connection) -> None:
        self._stop_receiving(connection)
        connection.handoff.close(CLIENT_LEFT)
        self._forget(connection)

    def _tick(self) -> None:
        now = time.monotonic()
        self._at_work.tell()
        for connection in [c for c in self._receiving if c.is_late(now)]:
            self._refuse(connection, Refused(408))
        for connection in list(self._connections):
            if connection.output:
                connection.output.check(now)

    # In a thread

    def _answer(self, connection: Connection) -> None:
        handoff, request = connection.handoff, connection.request
        assert request
        connection.output = output = Output(handoff, self._loop, self._limits.output)
        keeps = self._returns and connection.parser.their_state is not h11.MUST_CLOSE
        connection.answer = answer = Answer(request, output, keeps)
        try:
            self._run(connection, answer, request)
            output.finish(lambda whole: self._end(connection, whole))
        except Refused as refused:
            self._refuse(connection, refused)
        except ClientLost as error:
            log.info("hand-off %d: %s", handoff.id, error)
            output.abandon(lambda _: self._end(connection, False))
        except BaseException:  # the application's SystemExit, too: it ends its answer only
            log.exception("hand-off %d: the answer cannot be completed", handoff.id)
            output.abandon(lambda _: self._end(connection, False))
        self._at_work.remove(handoff)

    def _run(self, connection: Connection, answer: Answer, request: h11.Request) -> None:
        body = connection.body or io.BytesIO()
        environ = make_environ(connection.handoff, request, body, connection.body_length)
        environ.update(self._server_environ)
        try:
            answer.run(self._application, environ)
        except ClientLost:
            raise
        except BaseException:
            if answer.has_begun and not answer.is_complete:
                raise
            log.exception("hand-off %d: the application failed", connection.handoff.id)
            answer.fail()
        finally:
            body.close()

    # In a thread, or in the loop's

    def _end(self, connection: Connection, whole: bool) -> None:
        handoff, answer = connection.handoff, connection.answer
        assert answer
        status, size = answer.status, answer.size()
        if not (whole and answer.is_complete):
            if answer.ends_with_the_connection:
                handoff.abort(status, size)
        elif answer.keeps:
            handoff.give_back(connection.unread(), status, size)
        handoff.close(status, size)
        self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if self._is_full or self._loop.drained:
            self._loop.call(self._receive_more)

    def _break_off(self, connection: Connection) -> None:
        """The process ends; a thread may have the connection."""
        try:
            connection.handoff.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        connection.handoff.done()


def refusal(refused: Refused, body: bytes) -> bytes:
    """The answer of a request that the application does not see."""
    fields = ("Content-Type", "text/plain"), ("Content-Length", str(len(body)))
    return encode_head(str(refused), [*fields, ("Connection", "close")]) + body
