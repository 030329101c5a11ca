# SPDX-License-Identifier: BSD-3-Clause
"""Workers for lighttpd's mod_fd_transfer: receive a client's socket, answer, close or return it.

    import fdworker

    def hello(handoff):
        handoff.sock.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\n\\r\\nhello\\n")

    fdworker.serve(hello)

`fdworker.aio` does the same in asyncio, `python3 -m fdworker.asgi module:app` runs an ASGI
application, `python3 -m fdworker.wsgi module:app` a WSGI application, `python3 -m fdworker.cat`
stands in for lighttpd during development. The record on the wire: doc/handoff-record.md.
"""

from .blocking import serve
from .queue import Handoff, HandoffQueue, QueueClosed
from .record import Reason, RecordError
from .sources import HandoffListener, find_sources

__all__ = [
    "Handoff",
    "HandoffListener",
    "HandoffQueue",
    "QueueClosed",
    "Reason",
    "RecordError",
    "find_sources",
    "serve",
]
