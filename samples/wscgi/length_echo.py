#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Echoes every message, text as text and binary as binary: framing "length".

A record is a kind (1 byte), a length (4 bytes, big-endian) and so many bytes. The text "close
4001 good night" asks for just that close code and reason.
"""
import struct
import sys

RECORD = struct.Struct(">cI")
CODE = struct.Struct(">H")


def records(stream):
    """Yields (kind, bytes) until the input ends."""
    while len(header := stream.read(RECORD.size)) == RECORD.size:
        kind, length = RECORD.unpack(header)
        yield kind, stream.read(length)


def write(kind, payload):
    sys.stdout.buffer.write(RECORD.pack(kind, len(payload)) + payload)
    sys.stdout.buffer.flush()


for kind, payload in records(sys.stdin.buffer):
    if kind == b"C":  # the client's code and reason; the input ends after it
        code = CODE.unpack(payload[:2])[0] if payload else None
        print("client closed with", code, payload[2:].decode(), file=sys.stderr)
    elif kind == b"T" and payload.startswith(b"close "):
        code, _, reason = payload[len("close "):].partition(b" ")
        write(b"C", CODE.pack(int(code)) + reason)
        break
    else:
        write(kind, payload)  # also a piece: the lower-case kinds "t" and "b"
