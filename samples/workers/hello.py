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
        message, fds, _, _ = socket.recv_fds(queue, 65568, 16, socket.MSG_DONTWAIT)
    except BlockingIOError:
        continue  # a sibling was faster
    if not message:
        break  # lighttpd has no more for us
    if len(message) < 32 or message[:6] != b"LFDT\1\1" or not fds:
        print("hello.py: not a hand-off", file=sys.stderr)
        [os.close(fd) for fd in fds]
        continue
    *_, flags, _, _, _, length = struct.unpack("<4sBBHQIIQ", message[:32])
    data = os.pread(fds[1], length, 0) if flags & 1 else message[32:]
    with contextlib.suppress(OSError), socket.socket(fileno=fds[0]) as client:
        client.settimeout(10)
        body = b"Hello from worker %d: %s\n" % (os.getpid(), data.split(b"\r\n")[0])
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n"
                       b"Content-Length: %d\r\n\r\n%s" % (len(body), body))  # fmt: skip
        client.shutdown(socket.SHUT_WR)
    [os.close(memfd) for memfd in fds[1:]]
