# SPDX-License-Identifier: BSD-3-Clause
"""What an application is told about a request: the scope of ASGI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import h11

from .client import Address, Client, is_listed
from .loading import Scope

if TYPE_CHECKING:
    from .server import Server

SPEC_VERSION = "2.3"  # of ASGI's HTTP and WebSocket, as uvicorn says


def http_scope(request: h11.Request, client: Client, server: Server) -> Scope:
    raw_path, _, query = request.target.partition(b"?")
    headers = list(request.headers)
    address, scheme = client.address, client.scheme
    if client.proxies is not None:
        address, scheme = _forwarded(headers, address, scheme, client.proxies)
    root = server.options.root_path
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": server.asgi_version, "spec_version": SPEC_VERSION},
        "http_version": request.http_version.decode("ascii"),
        "server": client.server,
        "client": address,
        "scheme": scheme,
        "method": request.method.decode("ascii"),
        "root_path": root,
        "path": root + unquote(raw_path.decode("ascii")),
        "raw_path": root.encode() + raw_path,
        "query_string": query,
        "headers": headers,
        "state": server.state.copy(),
        "extensions": {},
    }  # fmt: skip
    if client.handoff:
        scope["extensions"]["fdworker"] = {
            "remote_user": client.user, "raw_stage": client.raw_stage
        }  # fmt: skip
    if client.user is not None:
        scope["state"]["remote_user"] = client.user
    return scope


def websocket_scope(http: Scope, subprotocols: list[str]) -> Scope:
    """The same for a WebSocket handshake."""
    scope = dict(http)
    del scope["method"]
    scope["type"] = "websocket"
    scope["scheme"] = {"http": "ws", "https": "wss"}.get(http["scheme"], http["scheme"])
    scope["subprotocols"] = subprotocols
    scope["extensions"] = {"websocket.http.response": {}, **http["extensions"]}
    return scope


def _forwarded(
    headers: list[tuple[bytes, bytes]], address: Address | None, scheme: str, proxies: str
) -> tuple[Address | None, str]:
    """Client and scheme as the proxy saw them. A proxy appends its client to what was there before,
    which anybody may have written: so the last one counts that is no listed proxy itself."""
    fields = {name: value.decode("latin-1") for name, value in headers
              if name in (b"x-forwarded-for", b"x-forwarded-proto")}  # fmt: skip
    proto = fields.get(b"x-forwarded-proto", "").strip().lower()
    if proto in ("http", "https", "ws", "wss"):
        scheme = proto.replace("ws", "http")
    hosts = [host.strip() for host in fields.get(b"x-forwarded-for", "").split(",")]
    hosts = [host for host in hosts if host]
    if hosts:
        strangers = [host for host in hosts if not is_listed(host, proxies)]
        address = ((strangers or hosts[:1])[-1], 0)
    return address, scheme
