#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A worker that answers requests well, but sends the rubbish that the URL asks for before it does.

rubbish_worker.py [hello]

/…/NAME, where NAME is one of the functions of class Rubbish, or, for what is done after an answer on a
connection that stays open, of class Confusion. hello: says so, the server keeps the connections.
"""
import os
import select
import signal
import socket
import struct
import sys

HEADER = struct.Struct("<4sBBHQIIII")


class Rubbish:
    """What a worker may do wrong; each with the queue, the client and the record's fields."""

    def __init__(self, queue, client, number, index):
        self.queue, self.client, self.number, self.index = queue, client, number, index

    def send(self, fds=(), version=2, kind=4, flags=0, number=None, index=None, data=b"", length=None):
        number = self.number if number is None else number
        index = self.index if index is None else index
        length = len(data) if length is None else length
        record = HEADER.pack(b"LFDT", version, kind, flags, number, index, 0, length, 0) + data
        socket.send_fds(self.queue, [record], list(fds))

    def nothing(self):
        pass

    def short(self):
        self.queue.send(b"x")

    def empty(self):
        self.queue.send(b"")

    def noise(self):
        self.queue.send(os.urandom(300))

    def version(self):
        self.send(version=9, kind=2)

    def request(self):
        socket.send_fds(self.queue, [HEADER.pack(b"LFDT", 2, 1, 0, 1, 0, 1, 1, 0) + b"x"],
                        [self.client.fileno()])

    def long(self):
        self.queue.send(b"L" * 100_000)

    def no_fd(self):
        self.send()

    def three_fds(self):
        self.send([0, 1, 2])

    def many_fds(self):
        self.send([2] * 100)

    def file(self):
        with open("/etc/passwd", "rb") as file:
            self.send([file.fileno()])

    def udp(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            self.send([sock.fileno()])

    def unconnected(self):
        with socket.socket() as sock:
            self.send([sock.fileno()])

    def stranger(self):
        """A connection that was never lighttpd's."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            with socket.create_connection(listener.getsockname()):
                accepted = listener.accept()[0]
                self.send([accepted.fileno()])
                accepted.close()

    def bad_index(self):
        self.send([self.client.fileno()], index=4711)

    def empty_memfd(self):
        memfd = os.memfd_create("x")
        self.send([self.client.fileno(), memfd], flags=1, length=5000)
        os.close(memfd)

    def file_as_memfd(self):
        with open("/etc/passwd", "rb") as file:
            self.send([self.client.fileno(), file.fileno()], flags=1, length=5)

    def memfd_without_socket(self):
        """A memfd that is long to read, for a file that is no socket."""
        memfd = os.memfd_create("x")
        os.truncate(memfd, 1 << 24)
        self.send([2, memfd], flags=1, length=1 << 24)
        os.close(memfd)

    def no_socket(self):
        """Says that the server has the connection still; it has not, nobody said hello."""
        self.send(flags=8)

    def rubbish_behind_a_note(self):
        """A batch; what is wrong with its second record."""
        self.queue.send(HEADER.pack(b"LFDT", 2, 3, 0, 99, 0, 0, 0, 0) + os.urandom(300))

    def notes_with_a_socket_too_many(self):
        note = HEADER.pack(b"LFDT", 2, 3, 0, 99, 0, 0, 0, 0)
        socket.send_fds(self.queue, [note * 2], [self.client.fileno()])

    def files_together(self):
        """A batch of two returns, each with its file."""
        note = HEADER.pack(b"LFDT", 2, 4, 0, self.number, self.index, 0, 0, 0)
        with open("/etc/passwd", "rb") as file:
            socket.send_fds(self.queue, [note * 2], [file.fileno()] * 2)

    def wrong_id(self):
        self.send(flags=8, number=self.number + 1000)

    def unknown_id(self):
        self.send(kind=3, number=99)


class Confusion(Rubbish):
    """What a worker may do wrong with a connection that it has answered and means to return."""

    def twice(self):
        self.send([self.client.fileno()])
        self.send([self.client.fileno()])

    def kept_twice(self):
        self.send(flags=8)
        self.send(flags=8)

    def kept_twice_together(self):
        self.queue.send(HEADER.pack(b"LFDT", 2, 4, 8, self.number, self.index, 0, 0, 0) * 2)

    def kept_then_with_socket(self):
        self.send(flags=8)
        self.send([self.client.fileno()])

    def dead_after_answer(self):
        """All that was announced has been written, but the connection is not returned."""
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack(
            "ll", (self.number & 0xfffff) << 32 | self.written, 0))
        os.kill(os.getpid(), signal.SIGKILL)

    def kept_after_taken(self):
        self.send(kind=3)
        self.send(flags=8)

    def kept_wrong_id(self):
        self.send(flags=8, number=self.number + 1000)

    def kept_then_taken(self):
        self.send(flags=8)
        self.send(kind=3)

    def kept_with_rest(self):
        self.send(flags=8, data=self.rest)

    def kept_with_rubbish(self):
        """Bytes that the client never sent, as if they had been read too far."""
        self.send(flags=8, data=b"\0\r\n\r\nGET / HTTP/1.1\r\n\r\n")


def answer(queue, message, fds):
    _, _, _, _, number, index, head_length, length, _ = HEADER.unpack(message[:32])
    with socket.socket(fileno=fds[0]) as client:
        path = message[32:].split()[1].decode()
        body = b"worker %d\n" % os.getpid()
        response = (b"HTTP/1.1 200 OK\r\nConnection: %s\r\nContent-Length: %d\r\n\r\n%s")
        name = path.rpartition("/")[2]
        if name == "leave":
            return
        if name in Confusion.__dict__:
            confusion = Confusion(queue, client, number, index)
            confusion.rest = message[32 + head_length:32 + length]
            confusion.written = client.send(response % (b"keep-alive", len(body), body))
            Confusion.__dict__[name](confusion)
            return
        Rubbish.__dict__[name](Rubbish(queue, client, number, index))
        client.send(response % (b"close", len(body), body))
        client.shutdown(socket.SHUT_WR)


queue = socket.socket(fileno=0)
if sys.argv[1:] == ["hello"]:
    queue.send(HEADER.pack(b"LFDT", 2, 2, 0, 0, 0, 0, 0, 0))
while True:
    select.select([queue], [], [])
    message, fds, _, _ = socket.recv_fds(queue, 69664, 2)
    if not message:
        break
    answer(queue, message, fds)
