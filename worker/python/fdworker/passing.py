# SPDX-License-Identifier: BSD-3-Clause
"""One message with file descriptors over a unix socket, without blocking and without leaks.

The Python counterpart of process/fd_passing.h.
"""

from __future__ import annotations

import array
import os
import socket
from typing import Sequence

from .record import MESSAGE_MAX, Reason, RecordError

# Room for credentials and for more fds than any record has, so that a surplus is seen and closed.
CONTROL_SIZE = socket.CMSG_SPACE(12) + socket.CMSG_SPACE(16 * array.array("i").itemsize)


class Fds(list[int]):
    """fds that came with a message; closed at the end of the `with` unless taken with pop()."""

    def __enter__(self) -> Fds:
        return self

    def __exit__(self, *_: object) -> None:
        while self:
            os.close(self.pop())


def receive(sock: socket.socket) -> tuple[bytes, Fds, int, bool]:
    """Receives one message: its bytes, its fds (close-on-exec), the sender's process id, and
    whether fds were lost, because there was no room for more, or no descriptor was free.

    The bytes are empty at end of file. The process id is 0 unless the socket has SO_PASSCRED.
    Raises BlockingIOError when there is nothing to receive, RecordError when the message is too
    long.
    """
    arguments = MESSAGE_MAX, CONTROL_SIZE, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
    try:
        data, control, flags, _ = sock.recvmsg(*arguments)
    except ConnectionResetError:
        # Said once, by a peer that ended with our messages unread. Its own come after.
        data, control, flags, _ = sock.recvmsg(*arguments)
    fds, sender = Fds(), 0
    for level, kind, content in control:
        ints = array.array("i", content[: len(content) // 4 * 4])
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.extend(ints)
        elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            sender = ints[0]
    if flags & socket.MSG_TRUNC:
        with fds:
            raise RecordError(Reason.TRUNCATED_DATA)
    return data, fds, sender, bool(flags & socket.MSG_CTRUNC)


def send(sock: socket.socket, message: Sequence[bytes], fds: Sequence[int] = ()) -> None:
    """Sends the parts as one message with `fds`, which remain the caller's.

    Raises BlockingIOError when there is no room.
    """
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg(message, rights, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def memfd_with(data: bytes) -> int:
    """A new memfd that holds `data`; the caller's to close."""
    fd = os.memfd_create("handoff", os.MFD_CLOEXEC)
    os.truncate(fd, len(data))
    written = 0
    while written < len(data):
        written += os.pwrite(fd, data[written:], written)
    return fd


def memfd_data(fd: int, length: int) -> bytes:
    """The first `length` bytes of a memfd. Raises RecordError when it holds less."""
    parts, offset = [], 0
    while offset < length:
        part = os.pread(fd, length - offset, offset)
        if not part:
            raise RecordError(Reason.SHORT_MEMFD)
        parts.append(part)
        offset += len(part)
    return b"".join(parts)
