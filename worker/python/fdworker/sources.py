# SPDX-License-Identifier: BSD-3-Clause
"""Where a worker's hand-offs and ordinary connections come from.

A worker that lighttpd starts finds its queue as fd 0. An external worker listens on a unix
SOCK_SEQPACKET path. Sockets may also be inherited by systemd's LISTEN_FDS convention; what each
is for follows from its type: SEQPACKET brings hand-offs, a listening STREAM socket brings the
ordinary connections of mod_proxy.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from dataclasses import dataclass, field
from typing import Iterator

from .queue import HandoffQueue

LISTEN_FDS_START = 3
LOCK_WAIT = 2.0  # seconds
UNCONNECTED = b"01"  # state of a unix socket that is bound, or listens
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
    """A listening unix socket at `path`; a socket file that nobody has open is replaced.

    Raises OSError; EADDRINUSE means that another program has the path. Never blocks for it.
    """
    with _one_at_a_time(os.path.dirname(path) or "."):
        if _is_stale(path):
            os.unlink(path)
        sock = socket.socket(socket.AF_UNIX, kind)
        try:
            sock.bind(path)
            sock.listen(1024)
        except OSError:
            sock.close()
            raise
        return sock


@contextlib.contextmanager
def _one_at_a_time(folder: str) -> Iterator[None]:
    """Between two that start at once: the second must not remove the first one's new socket, which
    it has taken for the old one. The lock is the folder's, so that no file is left behind."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(PermissionError):  # a folder that may not be listed has no lock
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            _lock(fd)
        yield


def _lock(fd: int) -> None:
    """Waits LOCK_WAIT seconds at most: a lock that stays is no other worker's that starts."""
    end = time.monotonic() + LOCK_WAIT
    while time.monotonic() < end:
        with contextlib.suppress(BlockingIOError):
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(0.01)


def _is_stale(path: str) -> bool:
    """Whether `path` is a socket that no process has open.

    A connection is refused by an orphaned file, and by a socket that is bound and does not listen
    yet: the kernel's list shows the latter. EAGAIN is a listener whose backlog is full.
    """
    try:
        file = os.stat(path)
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(file.st_mode):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path) == errno.ECONNREFUSED and not _is_bound(file)


def _is_bound(file: os.stat_result) -> bool:
    """Whether /proc/net/unix has a socket at this file that listens, or will. Accepted ones have the
    path, too, and may outlive the listener."""
    try:
        with open("/proc/net/unix", "rb") as sockets:
            lines = sockets.read().splitlines()[1:]
    except OSError:
        return True  # nobody knows
    for line in lines:
        fields = line.split(None, 7)
        if len(fields) == 8 and fields[5] == UNCONNECTED:
            with contextlib.suppress(OSError, ValueError):  # ValueError: an abstract name, with NUL
                if os.path.samestat(os.stat(fields[7]), file):
                    return True
    return False


def _listen(path: str, kind: socket.SocketKind) -> socket.socket:
    """listen_unix(), or SystemExit with an explanation."""
    try:
        return listen_unix(path, kind)
    except OSError as error:
        reason = error.strerror or str(error)  # "AF_UNIX path too long" has no number
        if error.errno == errno.EADDRINUSE:
            reason = "another program has this path open, or it is a file that is no socket"
        raise SystemExit(f"fdworker: cannot listen on {path}: {reason}") from None


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
        sock = _listen(listen, socket.SOCK_SEQPACKET)
        sources.handoff_listeners.append(HandoffListener(sock))
    if stream:
        sources.stream_listeners.append(_listen(stream, socket.SOCK_STREAM))
    return sources
