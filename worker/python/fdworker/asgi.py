# SPDX-License-Identifier: BSD-3-Clause
"""Runs an ASGI application on handed-off sockets and on mod_proxy's socket.

    python3 -m fdworker.asgi module:app                            queue on fd 0
    python3 -m fdworker.asgi --listen /run/app.handoff module:app  lighttpd connects there
    python3 -m fdworker.asgi --http /run/app.http module:app       ... and mod_proxy there

HTTP and WebSocket come from uvicorn's own protocol classes, the parser for handed-off sockets
being h11: it can say which bytes it has not consumed, so that after each response the connection
goes back to lighttpd and the next request on it may be for any URL. With --keep the worker keeps
the connection and answers all its later requests itself, past lighttpd's access control.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from typing import Any, Callable

import h11
from uvicorn.config import Config  # type: ignore[import]
from uvicorn.protocols.http.h11_impl import H11Protocol  # type: ignore[import]
from uvicorn.protocols.websockets.websockets_impl import WebSocketProtocol  # type: ignore[import]
from uvicorn.server import Server  # type: ignore[import]

from .aio import Intake
from .queue import Handoff
from .sources import Sources, find_sources

# Whose X-Forwarded-* are believed: those of connections without an address, which come through a
# unix socket and therefore from mod_proxy. Clients on handed-off sockets have one.
UNIX_PEERS: Any = [None]

log = logging.getLogger("uvicorn.error")


class ClientTransport:
    """An asyncio transport that joins the writes of one turn of the loop into one packet, and
    calls `on_first_write` when the response has begun. The rest is the transport's own."""

    def __init__(self, transport: Any, on_first_write: Callable[[], None]) -> None:
        self._transport = transport
        self._on_first_write: Callable[[], None] | None = on_first_write
        self._loop = asyncio.get_running_loop()
        self._waiting: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._waiting:
            self._loop.call_soon(self.flush)
        self._waiting.append(data)

    def writelines(self, parts: list[bytes]) -> None:
        self.write(b"".join(parts))

    def flush(self) -> None:
        if not self._waiting:
            return
        data = b"".join(self._waiting)
        self._waiting.clear()
        if self._transport.is_closing():
            return
        self._transport.write(data)
        if self._on_first_write:
            self._on_first_write()
            self._on_first_write = None

    def write_eof(self) -> None:
        self.flush()
        self._transport.write_eof()

    def close(self) -> None:
        self.flush()
        self._transport.close()


class OnlyWebSocketUpgrades(h11.Connection):
    """Hides an `Upgrade` to anything else, such as the h2c of `curl --http2`: a server may ignore
    it (RFC 9110, section 7.8), but uvicorn would answer 400."""

    def next_event(self) -> Any:
        event = super().next_event()
        if not isinstance(event, h11.Request):
            return event
        upgrades = [value.lower() for name, value in event.headers if name == b"upgrade"]
        if not upgrades or upgrades == [b"websocket"]:
            return event
        hidden = (b"connection", b"upgrade", b"http2-settings")
        headers = [field for field in event.headers if field[0] not in hidden]
        return h11.Request(method=event.method, target=event.target, headers=headers,
                           http_version=event.http_version)  # fmt: skip


class HandedOffProtocol(H11Protocol):  # type: ignore[misc]
    """uvicorn's HTTP/1.1 on a socket that can go back to lighttpd."""

    def __init__(self, handoff: Handoff, keep: bool, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.conn = OnlyWebSocketUpgrades(h11.SERVER)
        self._handoff = handoff
        self._keep = keep

    def connection_made(self, transport: Any) -> None:
        super().connection_made(ClientTransport(transport, self._handoff.taken))
        self.data_received(self._handoff.data)  # before anything that the socket yields

    def connection_lost(self, error: Exception | None) -> None:
        self._handoff.taken()
        super().connection_lost(error)

    def on_response_complete(self) -> None:
        both_done = self.conn.our_state is h11.DONE and self.conn.their_state is h11.DONE
        if both_done and not self._keep and not self.transport.is_closing():
            self.server_state.total_requests += 1
            self._give_back()
        else:
            super().on_response_complete()

    def _give_back(self) -> None:
        self.transport.flush()
        if self.transport.get_write_buffer_size():  # a slow client: the response is still ours
            self.flow.pause_reading()
            self.loop.call_later(0.05, self._give_back)
            return
        if self.transport.is_closing():
            return
        self.transport.abort()  # the loop forgets the socket, which is open until its next turn
        if not self._handoff.give_back(self.conn.trailing_data[0]):
            self._handoff.close()


class DrainingWebSocket(WebSocketProtocol):  # type: ignore[misc]
    """uvicorn's WebSocket, which says 1001 (going away) when the worker drains."""

    def shutdown(self) -> None:
        self.ws_server.closing = True
        self.fail_connection(1001)


class WorkerServer(Server):  # type: ignore[misc]
    """uvicorn's server, with the queue of hand-offs beside its listening sockets."""

    def __init__(self, config: Config, sources: Sources, keep: bool, limit: int) -> None:
        super().__init__(config)
        self._sources = sources
        self._keep = keep
        self._limit = limit

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets=self._sources.stream_listeners)
        self._intake = Intake(self._sources, self._begin)

    async def on_tick(self, counter: int) -> bool:
        if len(self.server_state.connections) < self._limit:
            self._intake.resume()
        return await super().on_tick(counter) or self._intake.drained.is_set()

    async def shutdown(self, sockets: Any = None) -> None:
        self._intake.stop()
        await super().shutdown(sockets=self._sources.stream_listeners)

    def _begin(self, handoff: Handoff) -> None:
        asyncio.ensure_future(self._connect(handoff))
        if len(self.server_state.connections) >= self._limit:
            self._intake.pause()

    async def _connect(self, handoff: Handoff) -> None:
        def protocol() -> HandedOffProtocol:
            return HandedOffProtocol(
                handoff, self._keep, config=self.config, server_state=self.server_state
            )

        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(protocol, handoff.sock)
        except OSError as error:
            log.info("hand-off %d: %s", handoff.id, error)
            handoff.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python3 -m fdworker.asgi",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("app", help="module:attribute of the ASGI application")
    parser.add_argument("--listen", metavar="PATH", help="unix socket for lighttpd's hand-offs")
    parser.add_argument("--http", metavar="PATH", help="unix socket for mod_proxy's connections")
    parser.add_argument("--keep", action="store_true", help="keep connections after a response")
    parser.add_argument("--limit", type=int, default=10000, help="connections at once (10000)")
    parser.add_argument("--interface", default="auto", choices=("auto", "asgi3", "asgi2", "wsgi"))
    parser.add_argument("--log-level", default="warning")
    options = parser.parse_args()
    sys.path.insert(0, os.getcwd())
    config = Config(
        options.app, interface=options.interface, log_level=options.log_level, loop="asyncio",
        ws=DrainingWebSocket, access_log=False, forwarded_allow_ips=UNIX_PEERS,
    )  # fmt: skip
    sources = find_sources(options.listen, options.http).require()
    WorkerServer(config, sources, options.keep, options.limit).run()


if __name__ == "__main__":
    main()
