#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A worker that tells how its answers end, in the way that a URL asks for. Standard library only.

/…/done/STATUS/BYTES    answers with that status and so many bytes, and says done
/…/silent/STATUS/BYTES  the same, and ends without a word more than taken
/…/long/STATUS/BYTES    says taken, waits for SIGUSR1 within the answer, then says done
/…/die/STATUS/BYTES     the same, but kills itself instead
/…/return/STATUS/BYTES  returns the connection, with status and bytes
/…/back/NAME            returns the request unanswered, if /tmp/NAME is not there yet (and makes it)
"""
import fcntl
import os
import select
import signal
import socket
import struct

from fuller_worker import (HEADER, HELLO, IN_MEMFD, RETURN, TAKEN, WANTS_TAKEN, WITHOUT_SOCKET,
                           is_first)

DONE, SAYS_DONE = 5, 64


def answer_fields(status, size):
    return struct.pack("<HHHHHQ", 16, 2, status, 17, 8, size)


def note(kind, number=0, index=0, data=b"", flags=0, fields=b""):
    return HEADER.pack(b"LFDT", 2, kind, flags, number, index, 0, len(data), len(fields)) + data + fields


def wait_for_signal():
    signal.sigwait({signal.SIGUSR1})


def answer(queue, message, client):
    _, _, _, flags, number, index, head_length, length, _ = HEADER.unpack(message[:32])
    assert not flags & IN_MEMFD
    data = message[32:32 + length]
    what, first, second = data.split()[1].decode().split("/")[-3:]
    if first == "back":
        if is_first(second):
            return queue.send(note(RETURN, number, index, data, WITHOUT_SOCKET))
        what, first, second = "done", "200", "6"
    status, size = int(first), int(second)
    keep = what == "return"
    client.setblocking(True)
    client.sendall(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n"
                   % (status, size, b"keep-alive" if keep else b"close"))
    if what in ("long", "die"):
        client.sendall(b"x" * (size // 2))
        queue.send(note(TAKEN, number))
        wait_for_signal()
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        client.sendall(b"x" * (size - size // 2))
    else:
        client.sendall(b"x" * size)
    client.setblocking(False)
    fields = answer_fields(status, size)
    if keep:
        return queue.send(note(RETURN, number, index, b"", WITHOUT_SOCKET, fields))
    client.shutdown(socket.SHUT_WR)
    if what == "silent":
        queue.send(note(TAKEN, number))
    else:
        queue.send(note(DONE, number, fields=fields))


def main():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    queue = socket.socket(fileno=0)
    queue.send(note(HELLO, flags=SAYS_DONE))
    while True:
        select.select([queue], [], [])
        try:
            message, fds, _, _ = socket.recv_fds(queue, 69664, 2, socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue
        if not message:
            return
        with socket.socket(fileno=fds[0]) as client:
            fcntl.fcntl(client, fcntl.F_SETOWN, os.getpid())
            if HEADER.unpack(message[:32])[3] & WANTS_TAKEN:
                answer(queue, message, client)


main()
