#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A worker in forty lines of standard library: receive a client's socket, answer, close."""

import array
import contextlib
import os
import re
import select
import signal
import socket
import struct
import sys

RECORD = "<6sHQIIII"
IN_MEMFD, END_CONNECTION = 1, 32  # flags
queue = socket.socket(fileno=0)  # lighttpd's other end
woken, wakes = socket.socketpair()  # SIGTERM ends the loop below, never a response
wakes.setblocking(False)
signal.set_wakeup_fd(wakes.fileno())
signal.signal(signal.SIGTERM, lambda *_: None)


def client_address(fields):
    """The first optional field that has it, skipping the others."""
    while fields:
        kind, length = struct.unpack("<HH", fields[:4])
        if kind == 1:
            return fields[4:4 + length]
        fields = fields[4 + length:]
    return b"an unknown address"


def answer(client, head, address):
    client.settimeout(10)
    body = b"Hello from worker %d to %s: %s\n" % (os.getpid(), address, head.split(b"\r\n")[0])
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n"
                   b"Content-Length: %d\r\n\r\n%s"
                   % (len(body), b"" if head.startswith(b"HEAD ") else body))  # fmt: skip


def end(client, number, index, may_have_more):
    """A client that may still be sending gets the answer if lighttpd ends the connection."""
    if may_have_more:
        record = struct.pack(RECORD, b"LFDT\2\4", END_CONNECTION, number, index, 0, 0, 0)
        rights = socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [client.fileno()])
        with contextlib.suppress(OSError):  # no room
            return queue.sendmsg([record], [rights], socket.MSG_DONTWAIT)
    return client.shutdown(socket.SHUT_WR)


while woken not in select.select([queue, woken], [], [])[0]:
    try:
        message, fds, cut, _ = socket.recv_fds(queue, 69664, 16, socket.MSG_DONTWAIT)
    except BlockingIOError:
        continue  # a sibling was faster
    if not message and not fds:
        break  # lighttpd has no more for us
    kind, flags, number, index, head, length, more = struct.unpack(RECORD, message[:32].ljust(32))
    inline, most, due = (0, 1 << 30, 2) if flags & IN_MEMFD else (length, 65536, 1)
    if (kind == b"LFDT\2\1" and flags < 8 and 0 < head <= length <= most and len(fds) == due
            and len(message) == 32 + inline + more
            and not cut & (socket.MSG_TRUNC | socket.MSG_CTRUNC)):  # fmt: skip
        request = (os.pread(fds[1], head, 0) if flags & IN_MEMFD else message[32:32 + head])
        has_body = re.search(rb"(?i)\n(content-length|transfer-encoding):", request)
        client = socket.fromfd(fds[0], socket.AF_INET, socket.SOCK_STREAM)
        with contextlib.suppress(OSError), client:
            answer(client, request, client_address(message[32 + inline:]))
            end(client, number, index, has_body or length > head)
    else:
        print("hello.py: not a hand-off", file=sys.stderr)
    [os.close(fd) for fd in fds]
