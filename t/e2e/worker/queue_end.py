# SPDX-License-Identifier: BSD-3-Clause
"""The server's end of a worker's queue, in the test's own hands: hands connections over, and keeps
what the worker tells of each."""
import array
import select
import socket
import subprocess
import sys
import time

import fronts
import samples

sys.path.insert(0, fronts.PYTHON_PACKAGE)

from fdworker.record import (  # noqa: E402
    HEADER, MESSAGE_MAX, Field, Flag, Kind, Record, decode_fields, encode, encode_fields, read, split)


class Told:
    """What a worker said of one hand-off. `has_ended`: by done or return, with what these say."""

    def __init__(self):
        self.kinds = []
        self.status = self.bytes = None
        self.data = b""         # of a return
        self.has_ended = False

    def add(self, record, note, says_done):
        self.kinds.append(record.kind)
        self.has_ended |= record.kind in (Kind.DONE, Kind.RETURN) or not says_done
        self.data = note[HEADER.size:HEADER.size + record.inline_length]
        fields = decode_fields(note[HEADER.size + record.inline_length:])
        if Field.STATUS in fields:
            self.status = int.from_bytes(fields[Field.STATUS], "little")
            self.bytes = int.from_bytes(fields[Field.BYTES], "little")


class QueueEnd:
    def __init__(self, sample):
        self.queue, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.worker = subprocess.Popen(samples.command(sample), stdin=theirs,
                                           env=fronts.ENVIRONMENT)
        self.told = {}
        self.says_done = None  # not known before hello
        self._next_id = 1
        self._kept = {}  # duplicates, as lighttpd has them until it is told

    def wait_for_hello(self):
        while self.says_done is None:
            self.listen()

    def hand_over(self, request, fields=None, rest=b"", flags=Flag.WANTS_TAKEN):
        """(id, the client's end of a new connection with this request)"""
        data, section = request + rest, encode_fields(fields or {})
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname(), timeout=20)
            accepted = listener.accept()[0]
        accepted.setblocking(False)
        number, self._next_id = self._next_id, self._next_id + 1
        record = Record(Kind.REQUEST, flags, number, 0, len(request), len(data), len(section))
        self.queue.sendmsg([encode(record), data, section], [
            (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [accepted.fileno()]))])
        self._kept[number] = accepted
        return number, client

    def listen(self, timeout=20):
        """One message more. What is returned for its end is ended in good order."""
        assert select.select([self.queue], [], [], timeout)[0], f"nothing more: {vars(self)}"
        message, fds, _, _ = socket.recv_fds(self.queue, MESSAGE_MAX, 32)
        for fd in fds:  # the test has the connection anyway
            socket.close(fd)
        for note in split(message):
            record = read(note)
            if record.kind == Kind.HELLO:
                self.says_done = bool(record.flags & Flag.SAYS_DONE)
                continue
            self.told.setdefault(record.id, Told()).add(record, note, self.says_done)
            if kept := self._kept.pop(record.id, None):
                kept.close()

    def until_ended(self, number):
        """What was told of it, when it was all."""
        end = time.monotonic() + 20
        while not (number in self.told and self.told[number].has_ended):
            self.listen(max(0, end - time.monotonic()))
        return self.told[number]

    def close(self):
        self.queue.close()
        for kept in self._kept.values():
            kept.close()
        try:
            assert self.worker.wait(30) == 0
        finally:
            self.worker.kill()
