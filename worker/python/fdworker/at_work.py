# SPDX-License-Identifier: BSD-3-Clause
"""Hand-offs that threads work on."""

from __future__ import annotations

import contextlib
import socket
import time

from .queue import Handoff

TAKEN_AFTER = 5.0  # seconds; lighttpd answers 503 itself after its taken-timeout, 60 s


class AtWork:
    """Says `taken` for those whose answer takes long to begin: the loop's thread knows that the
    process lives, though a handler is silent."""

    def __init__(self) -> None:
        self._began: dict[Handoff, float] = {}  # in the order in which they began

    def __bool__(self) -> bool:
        return bool(self._began)

    def add(self, handoff: Handoff) -> None:
        self._began[handoff] = time.monotonic()

    def remove(self, handoff: Handoff) -> None:
        self._began.pop(handoff, None)

    def tell(self) -> None:
        """To be called now and then."""
        late = time.monotonic() - TAKEN_AFTER
        for handoff, began in list(self._began.items()):
            if began > late:
                break
            handoff.taken()

    def abandon(self) -> None:
        """Ends all connections. Their threads, which still have the descriptors, get errors."""
        for handoff in list(self._began):
            with contextlib.suppress(OSError):
                handoff.sock.shutdown(socket.SHUT_RDWR)
            handoff.done()
