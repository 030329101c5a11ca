# SPDX-License-Identifier: BSD-3-Clause
"""A WebSocket session between a client and an application, with wsproto.

    state         the application may                      the client
    CONNECTING    accept, close (403), start a response    waits for the handshake's answer
    REFUSING      send the rest of that response           gets it
    OPEN          send, close                              sends messages
    CLOSING       (nothing)                                has our Close, and owes us one
    CLOSED        (nothing)                                is no longer there

Messages are read as long as few wait for the application, and sent as long as few wait for the
client: the rest is left to the kernel's buffers, and so to the other side.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import os
from collections import deque
from typing import TYPE_CHECKING, Any

import h11
import wsproto
from wsproto import events
from wsproto.connection import ConnectionState
from wsproto.extensions import Extension, PerMessageDeflate
from wsproto.utilities import RemoteProtocolError

from .client import Client
from .loading import Message
from .plain import plain_response
from .scope import http_scope, websocket_scope

if TYPE_CHECKING:
    from .server import Server

INPUT_WINDOW = 65536  # bytes of messages, or of what comes before accept, that wait for the application
SLICE = 4096  # bytes that are inflated at once: at most a thousand times as many come out

log = logging.getLogger("fdworker.asgi")
access_log = logging.getLogger("fdworker.access")


class ClientDisconnected(OSError):
    """What send() raises once the client is gone. Applications may let it pass."""


class State(enum.Enum):
    CONNECTING = 0
    REFUSING = 1
    OPEN = 2
    CLOSING = 3
    CLOSED = 4


def is_handshake(request: h11.Request) -> bool:
    """Whether a request asks for WebSocket. Other upgrades are offers, which may be ignored."""
    tokens: list[bytes] = []
    upgrades = []
    for name, value in request.headers:
        if name == b"connection":
            tokens += [token.strip().lower() for token in value.split(b",")]
        elif name == b"upgrade":
            upgrades.append(value.lower())
    return b"upgrade" in tokens and upgrades == [b"websocket"]


def _has_body(request: h11.Request) -> bool:
    return any(name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
               for name, value in request.headers)  # fmt: skip


class WebSocketSession:
    """Ended by exactly one of its client's ways to end, on every path."""

    def __init__(self, server: Server, client: Client, request: h11.Request, data: bytes) -> None:
        self._server = server
        self._client = client
        self._stream = client.stream
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._wsproto = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        self._early = data  # received before accept
        self._state = State.CONNECTING
        self._status = 0
        self._size = 0  # bytes sent after the head
        # For the application.
        self._inbox: deque[Message] = deque([{"type": "websocket.connect"}])
        self._inbox_size = 0
        self._waiters: list[asyncio.Future[None]] = []
        self._farewell: Message | None = None
        self._closed_by_app = False
        # Of the message that is being received.
        self._input: deque[bytes] = deque()
        self._parsing: asyncio.Handle | None = None
        self._parts: list[Any] = []
        self._message_size = 0
        self._timer: asyncio.TimerHandle | None = None  # the next ping, its pong, or the close

    # --- the application ---

    async def run(self) -> None:
        request = self._handshake()
        if request is None:
            return await self._end()
        server = self._server
        scope = http_scope(self._request, self._client, server)
        scope = websocket_scope(scope, request.subprotocols)
        server.requests_began(self._client)
        server.sessions.add(self)
        self._listen()
        try:
            result = await server.app(scope, self.receive, self.send)
        except ClientDisconnected:
            self._app_ended(1000)
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError):
                log.error("Exception in ASGI application", exc_info=error)
            self._app_ended(1011)
            if not isinstance(error, Exception):
                raise
        else:
            if result is not None:
                log.error("ASGI callable should return None, but returned '%s'.", result)
            elif self._state is State.CONNECTING:
                log.error("ASGI callable returned without completing handshake.")
            self._app_ended(1000 if result is None else 1011)
        finally:
            server.sessions.discard(self)
            server.requests_ended(self._client)

    def _app_ended(self, code: int) -> None:
        if self._state is State.CONNECTING:
            self._refuse(500, "Internal Server Error")
        elif self._state is State.REFUSING:
            self._finish()
        elif self._state is State.OPEN:
            self._close(code)

    def shut_down(self) -> None:
        """The worker is about to end."""
        if self._state is State.CONNECTING:
            self._disconnect(1006)
            self._refuse(503, "Service Unavailable")
        elif self._state is State.OPEN:
            self._disconnect(1001)
            self._close(1001)

    # --- the handshake ---

    def _handshake(self) -> events.Request | None:
        """The client's request; None if it was refused."""
        try:
            if self._request.method != b"GET" or self._request.http_version < b"1.1":
                raise RemoteProtocolError("a WebSocket handshake is a GET of HTTP/1.1")
            if _has_body(self._request):
                raise RemoteProtocolError("a WebSocket handshake has no body")
            self._wsproto.initiate_upgrade_connection(
                list(self._request.headers), self._request.target
            )
            return next(e for e in self._wsproto.events() if isinstance(e, events.Request))
        except Exception as error:  # wsproto's own too: whatever a client can provoke
            log.warning("Invalid WebSocket handshake: %s", error)
            hint = getattr(error, "event_hint", None)
            status = hint.status_code if isinstance(hint, events.RejectConnection) else 400
            response, size = plain_response(status, "Invalid WebSocket handshake.")
            if status == 426:
                response = response.replace(b"\r\n", b"\r\nsec-websocket-version: 13\r\n", 1)
            self._write(response, size)
            self._status = status
            return None

    def _accept(self, message: Message) -> None:
        extensions: list[Extension] = []
        if self._server.options.ws_per_message_deflate:
            extensions.append(PerMessageDeflate())
        headers = [*self._server.default_headers(), *message.get("headers", ())]
        response = self._wsproto.send(events.AcceptConnection(
            subprotocol=message.get("subprotocol"), extensions=extensions, extra_headers=headers
        ))  # fmt: skip
        self._state, self._status = State.OPEN, 101
        self._write(response, 0)
        self._server.response_began(self._client)
        self._log_access()
        self._plan_ping()
        early, self._early = self._early, b""
        self._listen()
        if early:
            self._feed(early)

    def _refuse(self, status: int, text: str) -> None:
        """Answers the handshake in the application's place."""
        response, size = plain_response(status, text)
        self._write(response, size)
        self._status = status
        self._log_access()
        self._finish()

    def _begin_refusal(self, message: Message) -> None:
        status = message["status"]
        if not 200 <= status < 600:
            raise RuntimeError(f"Invalid HTTP status code '{status}' in response.")
        headers = [*self._server.default_headers(), *message.get("headers", ()),
                   (b"connection", b"close")]  # fmt: skip
        self._write(self._wsproto.send(events.RejectConnection(
            status_code=status, headers=headers, has_body=True
        )), 0)  # fmt: skip
        self._state, self._status = State.REFUSING, status
        self._log_access()

    def _continue_refusal(self, message: Message) -> None:
        more = message.get("more_body", False)
        data = self._wsproto.send(
            events.RejectData(data=message.get("body", b""), body_finished=not more)
        )
        self._write(data, len(data))
        if not more:
            self._disconnect(1006)
            self._finish()

    def _log_access(self) -> None:
        if access_log.isEnabledFor(logging.INFO):
            client = "%s:%d" % self._client.address if self._client.address else ""
            access_log.info('%s - "WebSocket %s" %d', client,
                            self._request.target.decode("latin-1"), self._status)  # fmt: skip

    # --- from the application ---

    async def send(self, message: Message) -> None:
        """ASGI's."""
        kind = message["type"]
        if self._stream.is_full():
            await self._stream.room()
        if self._farewell and not self._closed_by_app and self._state is not State.REFUSING:
            if kind == "websocket.send":
                raise ClientDisconnected("the WebSocket client is gone")
            return await asyncio.sleep(0)
        if self._state is State.CONNECTING:
            if kind == "websocket.accept":
                self._accept(message)
            elif kind == "websocket.close":
                self._closed_by_app = True
                self._disconnect(1006)
                self._refuse(403, "")
            elif kind == "websocket.http.response.start":
                self._begin_refusal(message)
            else:
                raise RuntimeError("Expected ASGI message 'websocket.accept', 'websocket.close' or "
                                   f"'websocket.http.response.start', but got '{kind}'.")  # fmt: skip
        elif self._state is State.OPEN:
            if kind == "websocket.send":
                self._send_message(message)
            elif kind == "websocket.close":
                self._closed_by_app = True
                code, reason = message.get("code", 1000), message.get("reason") or ""
                self._disconnect(code, reason)
                self._close(code, reason)
            else:
                raise RuntimeError("Expected ASGI message 'websocket.send' or 'websocket.close', "
                                   f"but got '{kind}'.")  # fmt: skip
        elif self._state is State.REFUSING:
            if kind != "websocket.http.response.body":
                raise RuntimeError("Expected ASGI message 'websocket.http.response.body', "
                                   f"but got '{kind}'.")  # fmt: skip
            self._continue_refusal(message)
        else:
            raise RuntimeError(f"Unexpected ASGI message '{kind}', after sending 'websocket.close'.")

    def _send_message(self, message: Message) -> None:
        data: Any = message.get("bytes")
        if data is None:
            data = message.get("text")
        frame = self._wsproto.send(events.Message(data=data))
        self._write(frame, len(frame))

    def _write(self, data: bytes, size: int) -> None:
        self._size += size
        self._stream.write(data)

    # --- to the application ---

    async def receive(self) -> Message:
        """ASGI's."""
        while not self._inbox:
            if self._farewell:
                return self._farewell
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter
        message = self._inbox.popleft()
        self._inbox_size -= len(message.get("text") or message.get("bytes") or b"")
        if self._state is State.OPEN:
            self._listen()
        return message

    def _deliver(self, message: Message) -> None:
        self._inbox.append(message)
        self._inbox_size += len(message.get("text") or message.get("bytes") or b"")
        self._wake()

    def _disconnect(self, code: int, reason: str | None = None) -> None:
        """Tells the application that there will be no more messages."""
        if not self._farewell:
            self._farewell = {"type": "websocket.disconnect", "code": code, "reason": reason}
            self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    # --- from the client ---

    def _listen(self) -> None:
        """Reads as long as little waits for the application. After our Close until the client's."""
        if self._state is State.CONNECTING:
            wanted = len(self._early) < INPUT_WINDOW
        elif self._state is State.OPEN:
            wanted = (len(self._inbox) < self._server.options.ws_max_queue
                      and self._inbox_size < INPUT_WINDOW)  # fmt: skip
        else:
            wanted = self._state is State.CLOSING
        if self._input or self._parsing:
            wanted = False
        self._stream.listen(self._on_readable if wanted else None)

    def _on_readable(self) -> None:
        data = self._stream.read_now()
        if data is None:
            return
        if not data:
            self._client_left()
        elif self._state is State.CONNECTING:
            self._early += data
            self._listen()
        elif self._state in (State.OPEN, State.CLOSING):
            self._feed(data)

    def _client_left(self) -> None:
        self._disconnect(1006)
        if self._state is not State.CLOSED:
            self._finish()

    def _feed(self, data: bytes) -> None:
        step = SLICE if self._server.options.ws_per_message_deflate else len(data)
        self._input.extend(data[at : at + step] for at in range(0, len(data), step))
        self._parse()

    def _parse(self) -> None:
        """Up to the next message: the application has its turn to answer it before a Close that
        follows at once ends the session."""
        self._parsing = None
        try:
            while self._state in (State.OPEN, State.CLOSING):
                for event in self._wsproto.events():
                    if self._on_event(event):
                        self._parsing = self._loop.call_soon(self._parse)
                        return self._listen()
                    if self._state is State.CLOSED:
                        return
                if not self._input:
                    break
                self._wsproto.receive_data(self._input.popleft())
        except Exception as error:  # wsproto's own too: whatever a client can provoke
            log.info("WebSocket protocol error: %r", error)
            self._fail(1002, "protocol error")
        self._listen()

    def _on_event(self, event: events.Event) -> bool:
        """True if the application has got a message."""
        if isinstance(event, (events.TextMessage, events.BytesMessage)):
            return self._state is State.OPEN and self._on_data(event)
        if isinstance(event, events.CloseConnection):
            self._on_close(event)
        elif self._state is not State.OPEN:
            pass
        elif isinstance(event, events.Ping):
            self._write(pong := self._wsproto.send(event.response()), len(pong))
        elif isinstance(event, events.Pong):
            self._plan_ping()
        return False

    def _on_data(self, event: events.TextMessage | events.BytesMessage) -> bool:
        data = event.data
        if isinstance(data, str):
            self._message_size += len(data) if data.isascii() else len(data.encode())
        else:
            self._message_size += len(data)
        if self._message_size > self._server.options.ws_max_size:
            self._fail(1009, "message too big")
            return False
        self._parts.append(data)
        if event.message_finished:
            parts, self._parts, self._message_size = self._parts, [], 0
            if isinstance(data, str):
                self._deliver({"type": "websocket.receive", "text": "".join(parts)})
            else:
                self._deliver({"type": "websocket.receive", "bytes": b"".join(parts)})
        return event.message_finished

    def _on_close(self, event: events.CloseConnection) -> None:
        if self._wsproto.state is ConnectionState.OPEN:  # wsproto's way to report bad frames
            return self._fail(int(event.code), event.reason or "")
        self._disconnect(int(event.code), event.reason)
        if self._wsproto.state is ConnectionState.REMOTE_CLOSING:
            self._write(answer := self._wsproto.send(event.response()), len(answer))
        self._finish()

    # --- pings ---

    def _plan_ping(self) -> None:
        self._stop_timer()
        if interval := self._server.options.ws_ping_interval:
            self._timer = self._loop.call_later(interval, self._ping)

    def _ping(self) -> None:
        self._write(ping := self._wsproto.send(events.Ping(payload=os.urandom(4))), len(ping))
        self._timer = None
        if timeout := self._server.options.ws_ping_timeout:
            self._timer = self._loop.call_later(timeout, self._no_pong, timeout)

    def _no_pong(self, timeout: float) -> None:
        if len(self._inbox):  # it may have come: what we have not read for the application's sake
            self._timer = self._loop.call_later(timeout, self._no_pong, timeout)
        else:
            self._fail(1011, "keepalive ping timeout", 1006)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    # --- the end ---

    def _close(self, code: int, reason: str = "") -> None:
        """Sends Close, after what is on its way, and waits for the client's."""
        self._stop_timer()
        event = events.CloseConnection(code=code, reason=reason)
        self._write(data := self._wsproto.send(event), len(data))
        self._state = State.CLOSING
        self._parts.clear()
        self._listen()
        self._server.spawn(self._await_close())

    async def _await_close(self) -> None:
        await self._stream.flushed()
        if self._state is State.CLOSING:
            timeout = self._server.options.timeout_drain
            self._timer = self._loop.call_later(timeout, self._finish)

    def _fail(self, code: int, reason: str, code_for_app: int | None = None) -> None:
        """The client is at fault: sends Close and reads no more."""
        self._disconnect(code_for_app or code, reason)
        if self._wsproto.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            event = events.CloseConnection(code=code, reason=reason)
            self._write(data := self._wsproto.send(event), len(data))
        self._finish()

    def _finish(self) -> None:
        """Nothing more will be written or read."""
        self._stop_timer()
        self._state = State.CLOSED
        self._parts.clear()
        self._input.clear()
        self._early = b""
        self._stream.listen(None)
        if self._stream.lost or self._stream.ended:
            self._client.close(self._status or 499, self._size, reset=self._stream.lost)
        else:
            self._server.spawn(self._end())

    async def _end(self) -> None:
        await self._stream.flushed()
        if self._wsproto.state is ConnectionState.CLOSED or self._stream.lost:
            self._client.close(self._status, self._size, reset=self._stream.lost)
        else:
            await self._client.end(self._status, self._size)
