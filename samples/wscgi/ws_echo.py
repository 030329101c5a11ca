#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Echoes every message. Speaks WebSocket itself: framing "websocket".

A CGI program: the request is in the environment, the response goes to stdout ("Status: 101" and
header fields), and after the empty line stdin and stdout carry WebSocket frames (RFC 6455).
See samples/wscgi/README.md.
"""

import base64
import hashlib
import os
import sys

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def handshake(out):
    """Answers the request with 101 (RFC 6455 section 4.2.2), or with 426 if it is no WebSocket's."""
    if os.environ.get("HTTP_UPGRADE", "").lower() != "websocket":
        out.write(b"Status: 426\nUpgrade: websocket\n\n")
        sys.exit()
    key = os.environ["HTTP_SEC_WEBSOCKET_KEY"].encode()
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
    scheme = "wss" if os.environ["REQUEST_SCHEME"] == "https" else "ws"
    location = f"{scheme}://{os.environ['HTTP_HOST']}{os.environ['SCRIPT_NAME']}"
    print("echo at", location, file=sys.stderr)
    out.write(b"Status: 101\nUpgrade: websocket\nConnection: Upgrade\n")
    out.write(b"Sec-WebSocket-Accept: " + accept + b"\n\n")
    out.flush()


def exactly(stream, size):
    data = stream.read(size)
    if len(data) < size:
        sys.exit("client went away without a Close")
    return data


def read_frame(stream):
    """Returns (fin, opcode, payload) of the next frame (RFC 6455 section 5.2)."""
    first, second = exactly(stream, 2)
    length = second & 0x7F
    if length >= 126:
        length = int.from_bytes(exactly(stream, 2 if length == 126 else 8), "big")
    key = exactly(stream, 4)
    payload = exactly(stream, length)
    mask = (key * (length // 4 + 1))[:length]
    unmasked = int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")
    return first & 0x80, first & 0x0F, unmasked.to_bytes(length, "big")


def write_frame(stream, opcode, payload):
    length = len(payload)
    if length < 126:
        header = bytes([0x80 | opcode, length])
    elif length < 65536:
        header = bytes([0x80 | opcode, 126]) + length.to_bytes(2, "big")
    else:
        header = bytes([0x80 | opcode, 127]) + length.to_bytes(8, "big")
    stream.write(header + payload)
    stream.flush()


def echo(stream, out):
    kind, pieces = TEXT, []
    while True:
        fin, opcode, payload = read_frame(stream)
        if opcode == PING:
            write_frame(out, PONG, payload)
        elif opcode == CLOSE:
            write_frame(out, CLOSE, payload)
            return
        elif opcode in (TEXT, BINARY, CONTINUATION):
            kind = opcode or kind
            pieces.append(payload)
            if fin:
                write_frame(out, kind, b"".join(pieces))
                pieces.clear()


handshake(sys.stdout.buffer)
echo(sys.stdin.buffer, sys.stdout.buffer)
