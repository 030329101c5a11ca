# SPDX-License-Identifier: BSD-3-Clause
"""A client: its socket, where it came from, and the ways in which a connection ends."""

from __future__ import annotations

import ipaddress
import socket
from typing import Tuple

from ..queue import Handoff
from .options import Options
from .stream import ClientStream, Patience, TooSlow

Address = Tuple[str, int]


class Client:
    """One connection, handed off or accepted. Ended by exactly one of give_back(), close(), end().

    data           what was read from it before
    address        the client's, as (host, port); None: not known
    proxies        not None: it comes from a proxy whose X-Forwarded-* are believed, and these are
                   the proxies before that one, as a list of addresses (often "")
    """

    def __init__(
        self, sock: socket.socket, options: Options, handoff: Handoff | None, proxies: str | None = None
    ) -> None:
        patience = Patience(options.timeout_write, options.min_rate)
        self.stream = ClientStream(sock, patience, options.write_window)
        self.handoff = handoff
        self.data = handoff.data if handoff else b""
        self.address = handoff.client if handoff else _internet_address(sock.getpeername)
        self.scheme = handoff.scheme if handoff else "http"
        self.user = handoff.user if handoff else None
        self.raw_stage = bool(handoff and handoff.raw_stage)
        limits = [n for n in (options.limit_body, handoff and handoff.body_limit) if n]
        self.body_limit = min(limits, default=0)
        self.proxies = proxies
        self._sock = sock
        self._timeout = options.timeout_drain

    @property
    def server(self) -> Address | None:
        """The address to which the client connected; None for a unix socket."""
        return _internet_address(self._sock.getsockname)

    def begun(self) -> None:
        """The response has begun, and more of it comes later."""
        if self.handoff:
            self.handoff.taken()

    def give_back(self, unread: bytes, status: int, size: int) -> None:
        """lighttpd goes on with it. If it cannot now, the connection ends: it is between requests."""
        self.stream.lose()
        assert self.handoff
        if not self.handoff.give_back(unread, status, size):
            self._close(status, size)

    def close(self, status: int = 0, size: int = 0, *, reset: bool = False) -> None:
        """At once. What the kernel still has for the client is sent, unless `reset`."""
        if reset:
            self.stream.reset_on_close()
        self.stream.lose()
        self._close(status, size)

    def _close(self, status: int, size: int) -> None:
        if self.handoff:
            self.handoff.done(status, size)
            self.handoff.close()
        else:
            self._sock.close()

    async def end(self, status: int, size: int) -> None:
        """Closes so that the client has the response though it still sends what nobody will read.
        (With unread bytes close() would send a reset, which overtakes the response.)"""
        if self.handoff and not self.stream.lost and not self.stream.ended:
            if self.handoff.give_back(status=status, size=size, end=True):
                return self.stream.lose()
        await self._linger()
        self.close(status, size)

    async def _linger(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            return
        clock = self.stream.time
        end = clock() + self._timeout
        try:
            while await self.stream.read(end - clock()):
                pass
        except TooSlow:
            pass


def _internet_address(ask: object) -> Address | None:
    """What getpeername() or getsockname() says; None for unix sockets, and of clients that are gone."""
    try:
        name = ask()  # type: ignore[operator]
    except OSError:
        return None
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None


def believed_proxies(
    listener: socket.socket, sock: socket.socket, options: Options
) -> str | None:
    """Client.proxies of a connection accepted there. A unix socket is for mod_proxy alone; of those
    who connect to an inherited TCP socket the listed ones are proxies."""
    if not options.proxy_headers:
        return None
    if listener.family == socket.AF_UNIX:
        return ""
    address = _internet_address(sock.getpeername)
    listed = address is not None and is_listed(address[0], options.forwarded_allow_ips)
    return options.forwarded_allow_ips if listed else None


def is_listed(host: str, allowed: str) -> bool:
    """Whether a list such as "127.0.0.1,10.0.0.0/8" contains the address."""
    if allowed.strip() == "*":
        return True
    try:
        address = ipaddress.ip_address(host)
        return any(address in ipaddress.ip_network(item.strip(), strict=False)
                   for item in allowed.split(",") if item.strip())  # fmt: skip
    except ValueError:
        return False
