# SPDX-License-Identifier: BSD-3-Clause
"""The command line of the ASGI runner. Names that uvicorn has too mean what they mean there."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

LOG_LEVELS = ("critical", "error", "warning", "info", "debug", "trace")


@dataclass(frozen=True)
class Options:
    """Sizes are in bytes, times in seconds. The texts below say what each is for."""

    app: str
    listen: str | None
    http: str | None
    keep: bool
    limit: int
    interface: str
    factory: bool
    app_dir: str
    root_path: str
    lifespan: str
    log_level: str
    access_log: bool
    proxy_headers: bool
    forwarded_allow_ips: str
    date_header: bool
    server_header: bool
    header: list[tuple[bytes, bytes]]
    limit_concurrency: int | None
    limit_max_requests: int | None
    limit_body: int
    h11_max_incomplete_event_size: int
    write_window: int
    timeout_keep_alive: float
    timeout_graceful_shutdown: float
    timeout_read: float
    timeout_write: float
    min_rate: int
    timeout_half_closed: float
    drain_size: int
    timeout_drain: float
    ws: str
    ws_max_size: int
    ws_max_queue: int
    ws_ping_interval: float
    ws_ping_timeout: float
    ws_per_message_deflate: bool


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError
    return number


def _size(text: str) -> int:
    if (number := int(text)) < 0:
        raise ValueError
    return number


def _seconds(text: str) -> float:
    if not 0 < (number := float(text)) < 1e9:
        raise ValueError
    return number


def _seconds_or_0(text: str) -> float:
    return 0.0 if float(text) == 0 else _seconds(text)


def _truth(text: str) -> bool:
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
        text.lower()
    ]


def _header(text: str) -> tuple[bytes, bytes]:
    name, colon, value = text.partition(":")
    if not name or not colon:
        raise ValueError
    return name.strip().lower().encode("latin-1"), value.strip().encode("latin-1")


# What an error message calls them.
_count.__name__, _size.__name__ = "number (at least 1)", "size in bytes (at least 0)"
_seconds.__name__, _seconds_or_0.__name__ = "time in seconds", "time in seconds (0: never)"
_truth.__name__, _header.__name__ = "true or false", "header (Name: value)"


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m fdworker.asgi",
        description=description,
        formatter_class=argparse.RawTextHelpFormatter,
        allow_abbrev=False,
    )
    switch = argparse.BooleanOptionalAction

    parser.add_argument("app", help="module:attribute of the application")
    group = parser.add_argument_group("where connections come from")
    group.add_argument("--listen", metavar="PATH", help="unix socket for lighttpd's hand-offs")
    group.add_argument("--http", metavar="PATH", help="unix socket for mod_proxy's connections")
    group.add_argument("--keep", action="store_true",
                       help="keep connections after a response, and answer later requests on them\n"
                       "past lighttpd")
    group.add_argument("--limit", type=_count, default=10000, help="connections at once (10000)")
    group.add_argument("--proxy-headers", action=switch, default=True,
                       help="believe X-Forwarded-For and -Proto from --http (yes)")
    group.add_argument("--forwarded-allow-ips", metavar="LIST", default="127.0.0.1",
                       help="who is believed on an inherited TCP socket (127.0.0.1); * for all")

    group = parser.add_argument_group("the application")
    group.add_argument("--interface", default="auto", choices=("auto", "asgi3", "asgi2", "wsgi"))
    group.add_argument("--factory", action="store_true", help="call APP, which returns it")
    group.add_argument("--app-dir", metavar="PATH", default=".", help="where to look for it (.)")
    group.add_argument("--root-path", metavar="PATH", default="", help="where it is mounted")
    group.add_argument("--lifespan", default="auto", choices=("auto", "on", "off"))
    group.add_argument("--timeout-graceful-shutdown", metavar="SECONDS", type=_seconds,
                       default=30.0, help="for requests in flight at the end, until they are\n"
                       "cancelled (30)")

    group = parser.add_argument_group("HTTP")
    group.add_argument("--limit-concurrency", metavar="COUNT", type=_count,
                       help="answer 503 to more requests at once than this (no limit)")
    group.add_argument("--limit-max-requests", metavar="COUNT", type=_count,
                       help="end after so many requests (no limit)")
    group.add_argument("--limit-body", metavar="SIZE", type=_size, default=0,
                       help="longest request body (0: what lighttpd accepts)")
    group.add_argument("--h11-max-incomplete-event-size", metavar="SIZE", type=_count,
                       default=16384, help="longest request head (16384), where it is not\n"
                       "lighttpd's to limit")
    group.add_argument("--write-window", metavar="SIZE", type=_count, default=65536,
                       help="of a response that wait for a slow client before send() waits (65536)")
    group.add_argument("--timeout-keep-alive", metavar="SECONDS", type=_seconds, default=5.0,
                       help="between requests, with --keep or --http (5)")
    group.add_argument("--timeout-read", metavar="SECONDS", type=_seconds, default=60.0,
                       help="for a client to send something (60)")
    group.add_argument("--timeout-write", metavar="SECONDS", type=_seconds, default=360.0,
                       help="for a client to receive something (360)")
    group.add_argument("--min-rate", metavar="RATE", type=_size, default=256,
                       help="bytes a second that a client has to send or receive on average,\n"
                       "once the time above is used up (256; 0: none)")
    group.add_argument("--timeout-half-closed", metavar="SECONDS", type=_seconds, default=30.0,
                       help="until a client that has ended its side counts as gone, if the\n"
                       "application waits for that and writes nothing (30)")
    group.add_argument("--drain-size", metavar="SIZE", type=_size, default=65536,
                       help="of a body nobody has read, to read and drop so that the\n"
                       "connection can go on (65536)")
    group.add_argument("--timeout-drain", metavar="SECONDS", type=_seconds, default=5.0,
                       help="to wait for it, and for a client to close (5)")
    group.add_argument("--date-header", action=switch, default=True, help="send Date (yes)")
    group.add_argument("--server-header", action=switch, default=True, help="send Server (yes)")
    group.add_argument("--header", metavar="NAME:VALUE", type=_header, action="append", default=[],
                       help="send this too; may be repeated")

    group = parser.add_argument_group("WebSocket")
    group.add_argument("--ws", default="auto", choices=("auto", "wsproto", "none"))
    group.add_argument("--ws-max-size", metavar="SIZE", type=_count, default=16777216,
                       help="longest message (16777216)")
    group.add_argument("--ws-max-queue", metavar="COUNT", type=_count, default=32,
                       help="messages that wait for the application (32)")
    group.add_argument("--ws-ping-interval", metavar="SECONDS", type=_seconds_or_0, default=20.0,
                       help="between pings (20; 0: no pings)")
    group.add_argument("--ws-ping-timeout", metavar="SECONDS", type=_seconds_or_0, default=20.0,
                       help="for the client to answer one (20; 0: for ever)")
    group.add_argument("--ws-per-message-deflate", metavar="BOOL", type=_truth, default=True,
                       help="compress (true)")

    group = parser.add_argument_group("logging, to stderr")
    group.add_argument("--log-level", default="warning", choices=LOG_LEVELS)
    group.add_argument("--access-log", action=switch, default=False,
                       help="a line for each request, at --log-level info (no: lighttpd does it)")
    return parser  # fmt: skip


def parse(description: str, arguments: list[str] | None = None) -> Options:
    """Raises SystemExit with an explanation."""
    return Options(**vars(_parser(description).parse_args(arguments)))
