#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A worker that answers with what the record says of the client, as JSON: type -> text in hex.
Standard library only, written from doc/handoff-record.md."""
import json
import os
import select
import socket
import struct


def fields(section):
    found = {}
    while section:
        kind, length = struct.unpack_from("<HH", section)
        found[kind] = section[4:4 + length].hex()
        section = section[4 + length:]
    return found


queue = socket.socket(fileno=0)
while True:
    select.select([queue], [], [])
    try:
        message, fds, _, _ = socket.recv_fds(queue, 69664, 2, socket.MSG_DONTWAIT)
    except BlockingIOError:
        continue
    if not message:
        break
    _, _, _, flags, _, _, _, length, section = struct.unpack("<4sBBHQIIII", message[:32])
    body = json.dumps(fields(message[len(message) - section:] if section else b"")).encode()
    with socket.socket(fileno=fds[0]) as client:
        client.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
                    % (len(body), body))
        client.shutdown(socket.SHUT_WR)
    for memfd in fds[1:]:
        os.close(memfd)
