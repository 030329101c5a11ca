# SPDX-License-Identifier: BSD-3-Clause
"""The worker's end of the queue, and the hand-offs that come out of it.

Nothing here blocks; `HandoffQueue` gives an fd to poll. The loops on top of it are in blocking.py
and aio.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import itertools
import os
import re
import select
import socket
import struct
import termios
import time
from collections import deque
from threading import Lock, Thread
from typing import Mapping

from . import passing
from .record import (
    HEADER,
    INLINE_MAX,
    MEMFD_MAX,
    Field,
    Flag,
    Kind,
    Reason,
    Record,
    RecordError,
    decode,
    decode_fields,
    encode,
    encode_fields,
    read,
)

DISCARD_MAX = 65536  # bytes of a refused request's body that are read at once
LINGER = 5.0  # seconds for a client that still sends, as lighttpd allows
ROOM_WAIT = 1  # seconds between attempts, if the kernel does not say that there is room
UNSENT_MAX = 1 << 20  # bytes of notes kept while the server does not read; the oldest are dropped
UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Length: 0\r\n\r\n"
)

# Fields that announce a body. (A value may stand in the next line: obs-fold.)
BODY = re.compile(rb"\n(?:content-length[ \t]*:\s*(\d*)|transfer-encoding[ \t]*:)", re.IGNORECASE)


class QueueClosed(Exception):
    """lighttpd will send no more: drain."""


class Handoff:
    """One client's socket with everything that was read from it. Close it, or give it back.

    sock            the client's socket, non-blocking
    head            request line and header fields with the empty line that ends them
    rest            what was read after the head: body, or pipelined requests
    id              of the hand-off
    raw_stage       True: lighttpd's access control has not run

    What the server knows of the client, from the connection and not from the request's fields:

    client          address and port, as ("192.0.2.7", 4711); None: not known (a unix socket)
    scheme          "http" or "https", as the client sees it
    user            whom lighttpd has authenticated; None: nobody
    body_limit      bytes of body that lighttpd would accept; None: any number

    And what the worker tells:

    read_in_full    to be set when the request's body was read to its end: close() need not care
                    for a client that still sends

    Its methods may be called by any thread.
    """

    def __init__(
        self,
        queue: HandoffQueue,
        record: Record,
        sock: socket.socket,
        data: bytes,
        fields: Mapping[int, bytes] = {},
    ) -> None:
        self.sock = sock
        self.head = data[: record.head_length]
        self.rest = data[record.head_length :]
        self.id = record.id
        self.raw_stage = bool(record.flags & Flag.RAW_STAGE)
        self._socket_index = record.socket_index
        self._queue = queue
        self._untold = bool(record.flags & Flag.WANTS_TAKEN)
        self._ended = False
        self._telling = Lock()  # that a return means the server's descriptor as long as it has one
        self.read_in_full = False
        address = fields.get(Field.CLIENT_ADDRESS, b"").decode()
        port = int.from_bytes(fields.get(Field.CLIENT_PORT, b""), "little")
        self.client = (address, port) if address else None
        self.scheme = fields.get(Field.SCHEME, b"http").decode()
        self.user = fields[Field.USER].decode("latin-1") if Field.USER in fields else None
        self.body_limit = int.from_bytes(fields.get(Field.BODY_LIMIT, b""), "little") or None

    def __enter__(self) -> Handoff:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def data(self) -> bytes:
        """Head and rest: the first bytes of the client's stream."""
        return self.head + self.rest

    @property
    def request_line(self) -> str:
        """Such as `GET /hot/ HTTP/1.1`."""
        return self.head.split(b"\r\n", 1)[0].decode("latin-1")

    def taken(self) -> None:
        """To be called once the first bytes of the response are written.

        The server then forgets its duplicate of the socket. Harmless when called again.
        """
        with self._telling:
            if self._untold:
                self._untold = False
                self._queue.tell(Record(Kind.TAKEN, id=self.id))

    def done(self, status: int = 0, size: int = 0) -> None:
        """To be called when the answer has ended: what the server's access log shows.

        `status` is that of HTTP (0: not known), `size` the bytes written after the response's head.
        Implies taken(). give_back() and close() say it too, so it is needed only for its numbers.
        Harmless when called again.
        """
        with self._telling:
            if not self._ended:
                self._ended, self._untold = True, False
                fields = _answer(status, size)
                record = Record(Kind.DONE, id=self.id, fields_length=len(fields))
                self._queue.tell(record, fields)

    def give_back(
        self, unread: bytes = b"", status: int = 0, size: int = 0, *, end: bool = False
    ) -> bool:
        """Gives the socket back to lighttpd, which goes on reading requests there.

        `unread` are bytes read from the client that belong to a later request; `status` and `size`
        as for done(). With `end` lighttpd reads no further request: it ends the connection as it
        does after a last response of its own, once the client has had the answer. False when the
        server takes nothing now: the socket is still the caller's, to go on with or to close.
        """
        fields = b"" if self._ended else _answer(status, size)
        with self._telling:
            # The server still has its own descriptor, and takes it if nothing can be lost with ours.
            flags = Flag.WITHOUT_SOCKET if self._untold and not unread else 0
            if end:
                flags |= Flag.END_CONNECTION
            record = Record(
                Kind.RETURN, flags, self.id, self._socket_index, 0, len(unread), len(fields)
            )
            if not self._queue.give_back(record, self.sock, unread, fields):
                return False
            self._ended, self._untold = True, False
        self.sock.close()
        return True

    def close(self, status: int = 0, size: int = 0) -> None:
        """Ends the connection. Nothing happens if the socket was closed or given back before.

        `status` and `size` as for done(). A client that may still be sending this request, because
        its body was not read or bytes wait unread, gets the answer all the same: lighttpd ends such
        a connection as it ends its own. If it cannot, this waits for the client as long as the
        socket's timeout allows, at most LINGER seconds.
        """
        if self.sock.fileno() < 0:
            return
        sends = self._client_may_send()
        if sends and self.give_back(b"", status, size, end=True):
            return
        try:
            # The server may hold a duplicate: close() alone would not end the connection.
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the client was faster
        else:
            if sends:
                self._discard()
        self.done(status, size)
        self.sock.close()

    def abort(self, status: int = 0, size: int = 0) -> None:
        """Breaks the connection off: the client sees that the answer is not complete, even where
        the end of the connection would be its end."""
        if self.sock.fileno() < 0:
            return
        with contextlib.suppress(OSError):
            at_once = struct.pack("ii", 1, 0)  # a reset, when the last descriptor is closed
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        self.done(status, size)
        self.sock.close()

    def _client_may_send(self) -> bool:
        """Whether closing would send a reset, which may overtake the answer."""
        if not self.read_in_full:
            for field in BODY.finditer(self.head):
                if field[1] is None or int(field[1] or 0) > len(self.rest):
                    return True
        try:
            return fcntl.ioctl(self.sock, termios.FIONREAD, bytes(4)) != bytes(4)
        except OSError:
            return False

    def _discard(self) -> None:
        """Reads what the client sends, to its end or for LINGER seconds. A socket that does not
        wait is read a few times only."""
        end = time.monotonic() + LINGER
        waits = self.sock.gettimeout() != 0
        with contextlib.suppress(OSError):
            for _ in itertools.count() if waits else range(16):
                if waits:
                    self.sock.settimeout(max(0.001, end - time.monotonic()))
                if not self.sock.recv(DISCARD_MAX) or time.monotonic() > end:
                    return


def _answer(status: int, size: int) -> bytes:
    """The fields of `done` and of a return."""
    return encode_fields({Field.STATUS: status, Field.BYTES: size}) if status else b""


class HandoffQueue:
    """The socket on which hand-offs arrive: fd 0 of a worker that lighttpd started."""

    def __init__(self, sock: socket.socket | int = 0) -> None:
        self._sock = socket.socket(fileno=sock) if isinstance(sock, int) else sock
        if self._sock.type != socket.SOCK_SEQPACKET:
            raise ValueError("the queue must be a unix SOCK_SEQPACKET socket")
        self._unsent: deque[bytes] = deque()
        self._unsent_size = 0
        self._sending = Lock()  # handlers in threads tell, too
        self._waits_for_room = False  # a thread

    def fileno(self) -> int:
        """Readable when receive() has something."""
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def hello(self) -> None:
        """Tells the server that this process says `taken` and `done`. Once, at the start."""
        self.tell(Record(Kind.HELLO, Flag.SAYS_DONE))

    def has_ended(self) -> bool:
        """Whether receive() would raise QueueClosed. Receives nothing."""
        try:
            return not self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True

    def receive(self) -> Handoff | None:
        """The next hand-off; None if there is none now (a sibling was faster).

        Raises QueueClosed (drain), RecordError (refused and cleaned up: log it and go on; after
        TRUNCATED_FDS, in a second: no descriptor was free, and siblings may have one).
        """
        self.flush()
        try:
            message, fds, _, fds_lost = passing.receive(self._sock)
        except (BlockingIOError, InterruptedError):
            return None
        except ConnectionError:
            raise QueueClosed from None
        if not (message or fds or fds_lost):
            raise QueueClosed
        with fds:
            if fds_lost:
                self._expect_all(message, fds)
            return self._handoff(message, fds)

    def _expect_all(self, message: bytes, fds: passing.Fds) -> None:
        """Raises RecordError if no descriptor was free for the client's socket, or for the memfd.

        If the server still has the connection, it goes on with it where we give it the data;
        without them it can only end it.
        """
        record = read(message)
        if record.kind != Kind.REQUEST or len(fds) >= record.fds_expected:
            return
        wants_taken = record.flags & Flag.WANTS_TAKEN
        if record.in_memfd and fds:
            with self._adopt(record, fds, b"") as handoff, contextlib.suppress(OSError):
                handoff.sock.send(UNAVAILABLE)
                handoff.done(503)
                # Closing with unread bytes would send a reset, which may overtake the response.
                handoff.sock.recv(DISCARD_MAX)
        elif wants_taken and record.in_memfd:
            self.tell(Record(Kind.DONE, id=record.id))
        elif wants_taken:
            flags, length = Flag.WITHOUT_SOCKET, record.data_length
            back = Record(Kind.RETURN, flags, record.id, record.socket_index, 0, length)
            self.tell(back, message[HEADER.size : HEADER.size + length])
        raise RecordError(Reason.TRUNCATED_FDS)

    def _handoff(self, message: bytes, fds: passing.Fds) -> Handoff:
        record = decode(message, len(fds))
        if record.kind != Kind.REQUEST:
            raise RecordError(Reason.NOT_FOR_WORKERS)
        if record.in_memfd:
            data = passing.memfd_data(fds[1], record.data_length)
        else:
            data = message[HEADER.size : HEADER.size + record.data_length]
        section = message[record.message_length - record.fields_length :]
        return self._adopt(record, fds, data, decode_fields(section))

    def _adopt(
        self, record: Record, fds: passing.Fds, data: bytes, fields: Mapping[int, bytes] = {}
    ) -> Handoff:
        try:
            sock = socket.socket(fileno=fds[0])
        except OSError:
            raise RecordError(Reason.NOT_A_SOCKET) from None
        fds.pop(0)
        sock.setblocking(False)
        fcntl.fcntl(sock, fcntl.F_SETOWN, os.getpid())  # which worker holds it
        return Handoff(self, record, sock, data, fields)

    def tell(self, record: Record, data: bytes = b"") -> None:
        """Sends a note without fds, now or when there is room again."""
        note = encode(record) + data
        with self._sending:
            self._unsent.append(note)
            self._unsent_size += len(note)
            while self._unsent_size > UNSENT_MAX:
                self._forget_first()
        self.flush()

    def _forget_first(self) -> None:
        self._unsent_size -= len(self._unsent.popleft())

    def flush(self) -> None:
        """Sends what had no room before. receive() does it too, and a thread as soon as there is
        room, so that nothing waits for a worker that has nothing else to do."""
        with self._sending:
            self._send_unsent()
            if self._unsent and not self._waits_for_room:
                self._waits_for_room = True
                room = select.poll()
                room.register(self._sock, select.POLLOUT)
                Thread(target=self._wait_for_room, args=[room], daemon=True).start()

    def _send_unsent(self) -> None:
        try:
            while self._unsent:
                passing.send(self._sock, [self._unsent[0]])
                self._forget_first()
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._unsent.clear()  # the server has gone, nobody is left to be told
            self._unsent_size = 0

    def _wait_for_room(self, room: select.poll) -> None:
        while True:
            room.poll(ROOM_WAIT * 1000)
            with self._sending:
                self._send_unsent()
                if not self._unsent:
                    self._waits_for_room = False
                    return

    def give_back(
        self, record: Record, sock: socket.socket, data: bytes, section: bytes = b""
    ) -> bool:
        """Sends a `return` record with its fields; False when it cannot be sent now."""
        if len(data) > MEMFD_MAX:
            return False
        fds = [] if record.without_socket else [sock.fileno()]
        try:
            with passing.Fds() as memfd:
                if len(data) > INLINE_MAX:
                    memfd.append(passing.memfd_with(data))
                    flags = record.flags | Flag.IN_MEMFD
                    record, data = dataclasses.replace(record, flags=flags), b""
                passing.send(self._sock, [encode(record), data, section], [*fds, *memfd])
            return True
        except OSError:  # no room, or no descriptor
            return False
