# SPDX-License-Identifier: BSD-3-Clause
"""Responses of the runner's own: errors, in plain text, after which the connection ends."""

from __future__ import annotations

import http


def _phrase(status: int) -> bytes:
    try:
        return http.HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""


PHRASES = {status: _phrase(status) for status in range(100, 600)}


def plain_response(status: int, text: str, *, with_body: bool = True) -> tuple[bytes, int]:
    """The whole response, and the size of its body. HEAD wants none."""
    body = text.encode()
    head = (
        b"HTTP/1.1 %d %s\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
        b"connection: close\r\n\r\n" % (status, PHRASES[status], len(body))
    )
    return (head + body, len(body)) if with_body else (head, 0)
