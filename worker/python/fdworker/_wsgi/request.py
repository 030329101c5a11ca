# SPDX-License-Identifier: BSD-3-Clause
"""The head of a handed-off request, read with h11; and why a request is refused.

For every runner that stands on h11. No socket, no application.
"""

from __future__ import annotations

import http
import re

import h11

LINE_MAX = 65536  # bytes of the request line
FIELDS_MAX = 100


class Refused(Exception):
    """The request is answered by the runner, with this status. As text: with its words."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status} {http.HTTPStatus(status).phrase}")
        self.status = status


def read_head(
    parser: h11.Connection, head: bytes, *, line_max: int = LINE_MAX, fields_max: int = FIELDS_MAX
) -> h11.Request:
    """Gives the head of a request, which is whole, to a new parser. Raises Refused."""
    if head.find(b"\n") > line_max:
        raise Refused(414)
    if head.count(b"\n") > fields_max + 2:  # request line and empty line
        raise Refused(431)
    try:
        parser.receive_data(with_ascii_target(head))
        event = parser.next_event()
    except h11.RemoteProtocolError as error:
        raise Refused(error.error_status_hint) from error
    if not isinstance(event, h11.Request):
        raise Refused(400)
    return event


def with_ascii_target(head: bytes) -> bytes:
    """The head with bytes over 127 in its request line encoded as %XX: browsers and curl send them,
    lighttpd takes them, h11 does not."""
    if head.isascii():
        return head
    line, end, fields = head.partition(b"\n")
    return re.sub(rb"[\x80-\xff]", lambda byte: b"%%%02X" % byte[0][0], line) + end + fields


def next_event(parser: h11.Connection) -> object:
    """The parser's next event. Raises Refused."""
    try:
        return parser.next_event()
    except h11.RemoteProtocolError as error:
        raise Refused(error.error_status_hint) from error
