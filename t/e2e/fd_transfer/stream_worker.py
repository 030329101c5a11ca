#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""An external worker that streams: each connection gets a line every 50 ms, for ever.

stream_worker.py PATH: listens on a unix SEQPACKET socket at PATH for lighttpd."""
import os
import selectors
import socket
import sys
import time

listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind(sys.argv[1])
listener.listen()
print("listening", flush=True)
loop = selectors.DefaultSelector()
loop.register(listener, selectors.EVENT_READ)
clients = []
while True:
    for key, _ in loop.select(0.05):
        if key.fileobj is listener:
            loop.register(listener.accept()[0], selectors.EVENT_READ)
            continue
        message, fds, _, _ = socket.recv_fds(key.fileobj, 69664, 2)
        if not message:
            loop.unregister(key.fileobj)
            key.fileobj.close()
            continue
        client = socket.socket(fileno=fds[0])
        client.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        clients.append(client)
    for client in list(clients):
        try:
            client.send(b"data: %.3f\n\n" % time.monotonic())
        except OSError:
            clients.remove(client)
            client.close()
