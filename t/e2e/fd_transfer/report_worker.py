#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A simple worker (it never says hello) that answers each request with a report of what it got:
a JSON object. Standard library only, written from doc/handoff-record.md."""
import hashlib
import json
import os
import re
import select
import signal
import socket
import struct
import threading

LENGTH = re.compile(rb"\r\nContent-Length:[ \t]*(\d+)", re.I)
CHUNKED = re.compile(rb"\r\nTransfer-Encoding:[ \t]*chunked", re.I)
EXPECTS = re.compile(rb"\r\nExpect:[ \t]*100-continue", re.I)


class Reader:
    """The stream of bytes: first what came with the record, then the socket's."""

    def __init__(self, client, data):
        self.client, self.data = client, data

    def exactly(self, count):
        while len(self.data) < count:
            more = self.client.recv(65536)
            if not more:
                raise EOFError
            self.data += more
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def line(self):
        text = b""
        while not text.endswith(b"\r\n"):
            text += self.exactly(1)
        return text[:-2]

    def chunks(self):
        body = b""
        while size := int(self.line().partition(b";")[0], 16):
            body += self.exactly(size)
            self.line()
        self.line()
        return body


def answer(client, flags, number, head, data):
    client.settimeout(30)
    if EXPECTS.search(head):
        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    reader = Reader(client, data)
    if CHUNKED.search(head):
        body = reader.chunks()
    else:
        length = LENGTH.search(head)
        body = reader.exactly(int(length[1])) if length else b""
    report = json.dumps({"pid": os.getpid(), "flags": flags, "id": number,
                         "head": head.decode("latin-1"), "early": len(data),
                         "body": len(body), "sha256": hashlib.sha256(body).hexdigest(),
                         "rest": reader.data.decode("latin-1")}).encode()
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
                   b"Content-Length: %d\r\n\r\n%s" % (len(report), report))
    client.shutdown(socket.SHUT_WR)
    while client.recv(65536):  # what the client still sends must not reset the connection
        pass


def serve(message, fds):
    _, _, _, flags, number, _, head_length, length, _ = struct.unpack("<4sBBHQIIII", message[:32])
    data = os.pread(fds[1], length, 0) if flags & 1 else message[32:32 + length]
    try:
        with socket.socket(fileno=fds[0]) as client:
            answer(client, flags, number, data[:head_length], data[head_length:])
    except (OSError, EOFError):
        pass
    for memfd in fds[1:]:
        os.close(memfd)


def main():
    queue = socket.socket(fileno=0)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    while True:
        select.select([queue], [], [])
        try:
            message, fds, _, _ = socket.recv_fds(queue, 69664, 2, socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue
        if not message:
            break
        threading.Thread(target=serve, args=(message, fds)).start()  # ends before we do


main()
