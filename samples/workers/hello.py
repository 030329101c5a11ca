#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A worker in twenty lines of standard library: receive a client's socket, answer, close."""

import contextlib
import os
import select
import signal
import socket
import struct
import sys

queue = socket.socket(fileno=0)  # lighttpd's other end
woken, wakes = socket.socketpair()  # SIGTERM ends the loop below, never a response
wakes.setblocking(False)
signal.set_wakeup_fd(wakes.fileno())
signal.signal(signal.SIGTERM, lambda *_: None)


while woken not in select.select([queue, woken], [], [])[0]:
    try:
        message, fds, cut, _ = socket.recv_fds(queue, 69664, 16, socket.MSG_DONTWAIT)
    except BlockingIOError:
        continue  # a sibling was faster
    if not message and not fds:
        break  # lighttpd has no more for us
    kind, flags, _, _, head, length, more = struct.unpack("<6sHQIIII", message[:32].ljust(32))
    inline, most, due = (0, 1 << 30, 2) if flags & 1 else (length, 65536, 1)
    if (kind == b"LFDT\2\1" and flags < 8 and 0 < head <= length <= most and len(fds) == due
            and len(message) == 32 + inline + more
            and not cut & (socket.MSG_TRUNC | socket.MSG_CTRUNC)):  # fmt: skip
        request = (os.pread(fds[1], 65536, 0) if flags & 1 else message[32:32 + length]).split(b"\r\n")[0]
        client = socket.fromfd(fds[0], socket.AF_INET, socket.SOCK_STREAM)
        with contextlib.suppress(OSError), client:
            client.settimeout(10)
            body = b"Hello from worker %d: %s\n" % (os.getpid(), request)
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n"
                           b"Content-Length: %d\r\n\r\n%s" % (len(body), body))  # fmt: skip
            client.shutdown(socket.SHUT_WR)
    else:
        print("hello.py: not a hand-off", file=sys.stderr)
    [os.close(fd) for fd in fds]
