# SPDX-License-Identifier: BSD-3-Clause
"""Where a worker's hand-offs and ordinary connections come from.

A worker that lighttpd starts finds its queue as fd 0. An external worker listens on a unix
SOCK_SEQPACKET path. Sockets may also be inherited by systemd's LISTEN_FDS convention; what each
is for follows from its type: SEQPACKET brings hand-offs, a listening STREAM socket brings the
ordinary connections of mod_proxy.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from dataclasses import dataclass, field

from .queue import HandoffQueue

LISTEN_FDS_START = 3
PAUSE = 1.0  # seconds, at least, in which nothing comes from where no descriptor was free for it


class HandoffListener:
    """A unix SOCK_SEQPACKET socket to which lighttpd connects; each connection is a queue."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        sock.setblocking(False)

    def fileno(self) -> int:
        return self._sock.fileno()

    def accept(self) -> HandoffQueue | None:
        """None when a sibling was faster.

        Raises OSError, such as EMFILE. The server then waits, for a sibling or for us: come back
        after PAUSE. (If it were turned away it would connect again at once.)
        """
        try:
            return HandoffQueue(self._sock.accept()[0])
        except (BlockingIOError, ConnectionError):
            return None

    def close(self) -> None:
        self._sock.close()


def may_go_on(source: HandoffQueue | HandoffListener) -> bool:
    """Whether a pause may end: there is a descriptor, or the end of a queue, which needs none.

    Tells meanwhile what had no room before.
    """
    if isinstance(source, HandoffQueue):
        source.flush()
    try:
        os.close(os.open("/", os.O_PATH))
    except OSError:
        return isinstance(source, HandoffQueue) and source.has_ended()
    return True


@dataclass
class Sources:
    """Everything a worker was given. `queue` is the inherited one, whose end means drain."""

    queue: HandoffQueue | None = None
    handoff_listeners: list[HandoffListener] = field(default_factory=list)
    stream_listeners: list[socket.socket] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.queue or self.handoff_listeners or self.stream_listeners)

    def require(self) -> Sources:
        """Self, or SystemExit with an explanation when there is nothing to serve."""
        if self:
            return self
        raise SystemExit(
            "fdworker: nothing to serve: fd 0 is no SOCK_SEQPACKET socket. Let lighttpd or "
            "fdworker-cat start this program, or give it a path to listen on."
        )


def listen_unix(path: str, kind: socket.SocketKind) -> socket.socket:
    """A listening unix socket at `path`; a socket file that nobody listens on is replaced."""
    sock = socket.socket(socket.AF_UNIX, kind)
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode) and sock.connect_ex(path) == errno.ECONNREFUSED:
            os.unlink(path)
        sock.close()
        sock = socket.socket(socket.AF_UNIX, kind)
    except FileNotFoundError:
        pass
    sock.bind(path)
    sock.listen(1024)
    return sock


def find_sources(listen: str | None = None, stream: str | None = None) -> Sources:
    """fd 0, what LISTEN_FDS names, and the two paths: hand-offs (`listen`), HTTP (`stream`)."""
    sources = Sources()
    count = int(os.environ.get("LISTEN_FDS", "0"))
    if os.environ.get("LISTEN_PID", str(os.getpid())) != str(os.getpid()):
        count = 0
    for fd in [0, *range(LISTEN_FDS_START, LISTEN_FDS_START + count)]:
        try:
            sock = socket.socket(fileno=fd)
        except OSError:
            continue  # fd 0 is a terminal, a file, or closed
        os.set_inheritable(fd, False)
        listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if sock.type == socket.SOCK_SEQPACKET and listening:
            sources.handoff_listeners.append(HandoffListener(sock))
        elif sock.type == socket.SOCK_SEQPACKET:
            sources.queue = HandoffQueue(sock)
        elif listening:
            sources.stream_listeners.append(sock)
        else:
            sock.detach()  # not for us
    if listen:
        sock = listen_unix(listen, socket.SOCK_SEQPACKET)
        sources.handoff_listeners.append(HandoffListener(sock))
    if stream:
        sources.stream_listeners.append(listen_unix(stream, socket.SOCK_STREAM))
    return sources
