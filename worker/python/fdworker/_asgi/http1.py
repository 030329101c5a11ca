# SPDX-License-Identifier: BSD-3-Clause
"""HTTP/1.1 on one connection: requests read with h11, each answered by the application.

    Http1      the connection: reads a request, has it answered, decides what becomes of the socket
    Exchange   one request and its response, as the application's receive() and send()

What becomes of the connection once the response is out, and of a body that nobody has read:

    response        request                           then
    truncated       any                               close
    complete        complete                          lighttpd's, or the next request (--keep, --http)
    complete        complete, "Connection: close"     close
    complete        rest of its body is to come       drained in bounds; then as above, or as below
    complete        ... too much, too slow, refused   end: the client has the response before it learns
                                                      that nobody reads on
"""

from __future__ import annotations

import asyncio
import enum
import logging
from typing import TYPE_CHECKING

import h11

from .client import Client
from .loading import Message, Scope
from .plain import PHRASES, plain_response
from .scope import http_scope
from .stream import Patience, TooSlow
from .websocket import WebSocketSession

if TYPE_CHECKING:
    from .server import Server

BODY_WINDOW = 65536  # bytes of a body, or of pipelined requests, that wait for somebody to want them
CLIENT_LEFT = 499  # for the access log: the client has not waited for an answer
TURN = 262144  # bytes that one application may write until others have their turn

NO_HEADERS: list[tuple[bytes, bytes]] = []
CONTINUE = h11.InformationalResponse(status_code=100, headers=NO_HEADERS, reason=b"Continue")

log = logging.getLogger("fdworker.asgi")
access_log = logging.getLogger("fdworker.access")


class Phase(enum.Enum):
    """Of a response."""

    WAITING = 0  # for the application to begin
    STARTED = 1
    COMPLETE = 2  # the last byte is written, or waits for the client
    TRUNCATED = 3  # the application has failed after it had begun


class Http1:
    """Ended by exactly one of its client's ways to end, on every path."""

    def __init__(self, server: Server, client: Client) -> None:
        self.server = server
        self.client = client
        self.h11 = h11.Connection(h11.SERVER, server.options.h11_max_incomplete_event_size)
        if client.data:
            self.h11.receive_data(client.data)
        self._used = False

    async def run(self) -> None:
        """Answers one request. Whatever fails in here, the client gets an answer or an end."""
        stream = self.client.stream
        written = stream.written + stream.queued
        request = None
        try:
            request = await self._next_request()
            if request is None:
                self.client.close()
            elif self.server.is_websocket(request):
                await WebSocketSession(self.server, self.client, request, self._trailing()).run()
            else:
                await Exchange(self, request).run()
        except asyncio.CancelledError:
            if request is None:  # between requests, at the end of the worker
                self.client.close()
            raise
        except Exception:
            log.exception("fault of fdworker.asgi")
            if stream.written + stream.queued == written:
                await self.refuse(500, "Internal Server Error")
            else:
                self.client.close()

    def _trailing(self) -> bytes:
        return bytes(self.h11.trailing_data[0])

    async def _next_request(self) -> h11.Request | None:
        """None if the client has left instead, or was refused."""
        options, stream = self.server.options, self.client.stream
        patience = Patience(options.timeout_read, options.min_rate)
        while True:
            try:
                event = self.h11.next_event()
            except h11.RemoteProtocolError as error:
                log.warning("Invalid HTTP request received: %s", error)
                await self.refuse(error.error_status_hint, "Invalid HTTP request received.")
                return None
            if isinstance(event, h11.Request):
                return event
            if event is not h11.NEED_DATA:
                return None
            idle = self._used and not self.h11.trailing_data[0]
            began = stream.time()
            try:
                with self.server.idle(idle):
                    data = await stream.read(
                        options.timeout_keep_alive if idle else patience.left()
                    )
            except TooSlow:
                return None
            if not data:
                return None
            patience.count(stream.time() - began, len(data))
            self.h11.receive_data(data)

    async def refuse(self, status: int, text: str) -> None:
        """Answers by itself and ends the connection, if the client still waits."""
        if self.client.stream.lost:
            return
        response, size = plain_response(status, text)
        self.client.stream.write(response)
        await self.client.stream.flushed()
        await self.client.end(status, size)

    def conclude(self, exchange: Exchange) -> None:
        """The response is complete, or broken off. At once if nothing is to be waited for."""
        stream = self.client.stream
        if stream.queued or stream.lost or not exchange.is_request_complete():
            self.server.spawn(self._conclude_later(exchange))
        elif exchange.must_close and self._has_unread():
            self.server.spawn(self.client.end(exchange.status, exchange.size))
        else:
            self._conclude_now(exchange)

    async def _conclude_later(self, exchange: Exchange) -> None:
        client, status, size = self.client, exchange.status, exchange.size
        self.server.response_began(client)
        await client.stream.flushed()
        if client.stream.lost:
            return client.close(status, size, reset=True)
        if exchange.phase is Phase.COMPLETE and not exchange.is_request_complete():
            if exchange.refused or exchange.must_close or not await exchange.drain():
                return await client.end(status, size)
        if exchange.must_close and self._has_unread():
            return await client.end(status, size)
        self._conclude_now(exchange)

    def _has_unread(self) -> bool:
        """Whether bytes came after the last request. They are nobody's, but would make of close() a
        reset, which overtakes the response."""
        return bool(self.h11.trailing_data[0] or self.client.stream.read_now())

    def _conclude_now(self, exchange: Exchange) -> None:
        client, status, size = self.client, exchange.status, exchange.size
        if exchange.must_close or client.stream.ended:
            client.close(status, size)
        elif client.handoff and not self.server.options.keep:
            client.give_back(self._trailing(), status, size)
        elif self.server.draining:
            client.close(status, size)
        else:
            if client.handoff:
                client.handoff.done(status, size)
            self.h11.start_next_cycle()
            self._used = True
            self.server.spawn(self.run())


class Exchange:
    """One request and its response.

    phase      of the response
    status     that was sent; 0: none
    size       bytes of the response after its head
    refused    the rest of the request's body is not wanted, whatever its size
    """

    def __init__(self, connection: Http1, request: h11.Request) -> None:
        self._connection = connection
        self._server = connection.server
        self._client = connection.client
        self._stream = connection.client.stream
        self._h11 = connection.h11
        self._request = request
        self._patience: Patience | None = None
        self._scope: Scope = {}
        # What is known of the request's body: not yet delivered; received; all there; all told.
        self._body = b""
        self._received = 0
        self._complete = False
        self._end_told = False
        self._disconnected = False
        # Of the response.
        self._head = b""
        self._turn = 0
        self.phase: Phase = Phase.WAITING
        self.status: int = 0
        self.size: int = 0
        self.refused: bool = False
        self._is_head = request.method == b"HEAD"
        self._is_last = False  # the response has said so

    # --- the application ---

    async def run(self) -> None:
        server = self._server
        if server.is_busy():
            log.warning("Exceeded concurrency limit.")
            return self._answer_plainly(503, "Service Unavailable")
        self._scope = http_scope(self._request, self._client, server)
        self._pull()
        if self.phase is not Phase.WAITING:
            return  # refused
        server.requests_began(self._client)
        try:
            result: object = await server.app(self._scope, self.receive, self.send)
        except BaseException as error:
            self._failed("Exception in ASGI application", error)
            if not isinstance(error, Exception):
                raise
        else:
            if result is not None:
                self._failed(f"ASGI callable should return None, but returned '{result}'.")
            elif self.phase is Phase.WAITING:
                self._failed("ASGI callable returned without starting response.")
            elif self.phase is Phase.STARTED:
                self._failed("ASGI callable returned without completing response.")
        finally:
            server.requests_ended(self._client)

    def _failed(self, text: str, error: BaseException | None = None) -> None:
        """The application did not do its part."""
        if self._is_gone() and self.phase is not Phase.COMPLETE:
            log.info("%s (the client has left)", text, exc_info=error)
        elif not isinstance(error, asyncio.CancelledError):
            log.error("%s", text, exc_info=error)
        if self.phase is Phase.WAITING and self._stream.lost:
            self.status, self.phase = CLIENT_LEFT, Phase.TRUNCATED
            self._finish()
        elif self.phase is Phase.WAITING:
            self._answer_plainly(500, "Internal Server Error")
        elif self.phase is Phase.STARTED:
            self._flush_head()
            self.phase = Phase.TRUNCATED
            self._finish()

    def _is_gone(self) -> bool:
        return self._disconnected or self._stream.lost

    # --- the request's body ---

    def _pull(self) -> None:
        """Takes what has been received of the body, as far as the window goes."""
        parts = [self._body] if self._body else []
        size = len(self._body)
        try:
            while not self._complete and size < BODY_WINDOW:
                event = self._h11.next_event()
                if isinstance(event, h11.Data):
                    parts.append(bytes(event.data))
                    size += len(event.data)
                    self._received += len(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    self._complete = True
                else:
                    break
        except h11.RemoteProtocolError as error:
            log.warning("Invalid HTTP request received: %s", error)
            return self._refuse(error.error_status_hint, "Invalid HTTP request received.")
        self._body = parts[0] if len(parts) == 1 else b"".join(parts)
        if self._client.body_limit and self._received > self._client.body_limit:
            self._refuse(413, "Content Too Large")

    def _refuse(self, status: int, text: str) -> None:
        """The request itself is at fault: the application learns that the client is gone."""
        self._disconnected = self.refused = True
        self._body = b""
        if self.phase is Phase.WAITING:
            self._answer_plainly(status, text)
        elif self.phase is Phase.STARTED:
            self._flush_head()
            self.phase = Phase.TRUNCATED
            self._finish()

    async def _receive_more(self) -> None:
        if self._h11.they_are_waiting_for_100_continue and self.phase is Phase.WAITING:
            self._stream.write(self._h11.send(CONTINUE) or b"")
            self._server.response_began(self._client)
        options = self._server.options
        patience = self._patience = self._patience or Patience(options.timeout_read, options.min_rate)
        began = self._stream.time()
        try:
            if (left := patience.left()) <= 0:
                raise TooSlow
            await self._stream.readable(left)
        except TooSlow:
            return self._refuse(408, "Request Timeout")
        if self._end_told or self.phase in (Phase.COMPLETE, Phase.TRUNCATED):
            return  # another receive(), or send(), was faster
        data = self._stream.read_now()
        if data is None:
            return patience.count(self._stream.time() - began, 0)
        patience.count(self._stream.time() - began, len(data))
        if not data:
            self._disconnected = True  # in the middle of its request
            return
        self._h11.receive_data(data)
        self._pull()

    async def receive(self) -> Message:
        """ASGI's."""
        while not self._end_told and not self._is_over():
            if not self._body and not self._complete:
                self._pull()
            if self._body or self._complete:
                body, self._body = self._body, b""
                self._end_told = self._complete
                return {"type": "http.request", "body": body, "more_body": not self._complete}
            await self._receive_more()
        while not self._is_over():
            await self._watch()
        return {"type": "http.disconnect"}

    def _is_over(self) -> bool:
        return self.phase in (Phase.COMPLETE, Phase.TRUNCATED) or self._is_gone()

    async def _watch(self) -> None:
        """Waits for a sign that the client has left, or the response is complete. That it has ended
        its side is none: it may wait for the response."""
        stream = self._stream
        if stream.ended:
            written = stream.written
            try:
                await stream.readable(self._server.options.timeout_half_closed)
            except TooSlow:
                self._disconnected = stream.written == written
        elif len(self._h11.trailing_data[0]) > BODY_WINDOW:
            await stream.readable(watch=False)
        else:
            await stream.readable()
            if not self._is_over() and (data := stream.read_now()):
                self._h11.receive_data(data)

    def is_request_complete(self) -> bool:
        return self._complete

    async def drain(self) -> bool:
        """Reads and drops what is still to come of the body. False if that is too much, or too
        slow: then nobody knows where the next request would begin."""
        options, stream = self._server.options, self._stream
        end = stream.time() + options.timeout_drain
        try:
            size = 0
            while True:
                self._body = b""
                event = self._h11.next_event()
                if isinstance(event, h11.EndOfMessage):
                    self._complete = True
                    return True
                if isinstance(event, h11.Data):
                    size += len(event.data)
                if size > options.drain_size:
                    return False
                if event is h11.NEED_DATA:
                    data = await stream.read(end - stream.time())
                    if not data:
                        return False
                    self._h11.receive_data(data)
                elif not isinstance(event, h11.Data):
                    return False
        except (TooSlow, h11.RemoteProtocolError):
            return False

    def _is_rest_unwanted(self) -> bool:
        """Whether the connection has to end because of the rest of the body: the client waits for
        leave to send it, or it is known to be long."""
        if self._complete or self._h11.their_state is not h11.SEND_BODY:
            return False
        if self._h11.they_are_waiting_for_100_continue:
            return True
        length = next((int(v) for n, v in self._request.headers if n == b"content-length"), 0)
        return length - self._received > self._server.options.drain_size

    # --- the response ---

    async def send(self, message: Message) -> None:
        """ASGI's."""
        kind = message["type"]
        if self._stream.is_full():
            await self._stream.room()
        if self._is_gone() and self.phase is not Phase.COMPLETE:
            return await asyncio.sleep(0)  # who writes on and on should let others live
        if self.phase is Phase.WAITING:
            if kind != "http.response.start":
                raise RuntimeError(f"Expected ASGI message 'http.response.start', but got '{kind}'.")
            self._start(message)
        elif self.phase is Phase.STARTED:
            if kind != "http.response.body":
                raise RuntimeError(f"Expected ASGI message 'http.response.body', but got '{kind}'.")
            if self._continue(message.get("body", b""), message.get("more_body", False)):
                self._turn = 0
                await asyncio.sleep(0)
        else:
            raise RuntimeError(
                f"Unexpected ASGI message '{kind}' sent, after response already completed."
            )

    def _start(self, message: Message) -> None:
        status = message["status"]
        headers = [*self._server.default_headers(), *message.get("headers", ())]
        if self._is_rest_unwanted():
            self.refused = True
        if self.refused or (self._server.draining and not self._goes_back()):
            headers.append((b"connection", b"close"))
        event = h11.Response(status_code=status, headers=headers, reason=PHRASES[status])
        self._head = self._h11.send(event) or b""
        self.phase = Phase.STARTED
        self.status = status
        self._log_access()
        # It goes out with the first of the body, or in the next turn of the loop.
        asyncio.get_running_loop().call_soon(self._flush_head)

    def _goes_back(self) -> bool:
        return bool(self._client.handoff) and not self._server.options.keep

    def _log_access(self) -> None:
        if access_log.isEnabledFor(logging.INFO):
            client = "%s:%d" % self._scope["client"] if self._scope.get("client") else ""
            access_log.info('%s - "%s %s HTTP/%s" %d', client, self._request.method.decode(),
                            self._request.target.decode("latin-1"),
                            self._request.http_version.decode(), self.status)  # fmt: skip

    def _flush_head(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._stream.write(head)
            self._server.response_began(self._client)

    def _continue(self, data: bytes, more: bool) -> bool:
        """Writes a part of the body. True if it is time to let others have their turn."""
        parts: list[bytes] = []
        if data and not self._is_head:
            parts = self._h11.send_with_data_passthrough(h11.Data(data=data)) or []
        try:
            if not more:
                parts += self._h11.send_with_data_passthrough(h11.EndOfMessage()) or []
        finally:  # that may be too early for the length that the head has announced
            size = sum(map(len, parts))
            self.size += size
            if self._head:
                parts.insert(0, self._head)
                self._head = b""
            if parts:
                self._stream.write(*parts)
        if not more:
            self.phase = Phase.COMPLETE
            self._finish()
            return False
        if parts:
            self._server.response_began(self._client)
        self._turn += size
        return self._turn > TURN

    def _answer_plainly(self, status: int, text: str) -> None:
        """A response of our own; without h11, which may be in no state to send one."""
        response, size = plain_response(status, text, with_body=not self._is_head)
        self._stream.write(response)
        self.status, self.size = status, size
        self.phase = Phase.COMPLETE
        self._is_last = True
        self._log_access()
        self._finish()

    # --- the end ---

    @property
    def must_close(self) -> bool:
        """Whether no further request is answered on this connection."""
        return (self._is_last or self.phase is Phase.TRUNCATED
                or self._h11.our_state is not h11.DONE)  # fmt: skip

    def _finish(self) -> None:
        self._pull_end()
        self._stream.wake()  # who waits in receive() learns that the response is complete
        self._connection.conclude(self)

    def _pull_end(self) -> None:
        """What is there of the body is dropped, as far as that can be done at once."""
        if self._complete:
            return
        try:
            for _ in range(64):
                event = self._h11.next_event()
                if isinstance(event, h11.EndOfMessage):
                    self._complete = True
                if not isinstance(event, h11.Data):
                    break
        except h11.RemoteProtocolError:
            self.refused = True
