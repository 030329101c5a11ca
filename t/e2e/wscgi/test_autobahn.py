# SPDX-License-Identifier: BSD-3-Clause
"""Autobahn's RFC 6455 cases through a real lighttpd and a program, over HTTP/1.1 and HTTP/2.

The table is that of the engine's test (t/unit/ws/autobahn; format: t/unit/ws/golden/README.md); the
bytes are built here, and python3-wsproto judges what comes back. Groups 9, 12 and 13,
large messages and compression, are in test_autobahn_load.py.
"""
import asyncio
import pathlib
import re

import wsproto.connection
import wsproto.events
from http2_client import Connection
from test_bad_input import RawClient, request

TABLE = pathlib.Path(__file__).parents[2] / "unit" / "ws" / "autobahn"
OPCODES = {"continuation": 0, "text": 1, "binary": 2, "close": 8, "ping": 9, "pong": 10}
ECHO = {"/ws": {"bin-path": "/bin/cat", "framing": "length", "grace": 1, "close-timeout": 2}}
H2C = 'server.feature-flags += ( "server.h2proto" => "enable", "server.h2c" => "enable" )\n'
WORDS = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')
CASES = 247


def payload_of(words):
    data, i = b"", 0
    while i < len(words):
        if words[i] == "hex":
            part, i = b"", i + 1
            while i < len(words) and re.fullmatch("[0-9a-f]{2}", words[i]):
                part, i = part + bytes.fromhex(words[i]), i + 1
        elif words[i] == "code":
            part, i = int(words[i + 1]).to_bytes(2, "big"), i + 2
        else:
            assert words[i][0] == '"', words
            text = words[i][1:-1].encode()
            part = re.sub(rb"\\(x..|.)", lambda m: bytes.fromhex(m[1][1:].decode())
                          if m[1][:1] == b"x" and len(m[1]) == 3 else m[1], text)
            i += 1
        if i < len(words) and words[i] == "x":
            part, i = part * int(words[i + 1]), i + 2
        data += part
    return data


def frame_of(words):
    kind, words = words[0], words[1:]
    if kind == "bytes":
        return payload_of(words)
    opcode = OPCODES.get(kind)
    if opcode is None:
        assert kind == "opcode"
        opcode, words = int(words[0]), words[1:]
    first = 0x80 | opcode
    while words and words[0] in ("more", "rsv"):
        if words[0] == "more":
            first, words = first & 0x7f, words[1:]
        else:
            first, words = first | int(words[1]) << 4, words[2:]
    payload, mask = payload_of(words), b"\x12\x34\x56\x78"
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else \
        b"\xfe" + size.to_bytes(2, "big") if size < 65536 else b"\xff" + size.to_bytes(8, "big")
    masked = bytes(byte ^ mask[i & 3] for i, byte in enumerate(payload))
    return bytes([first]) + length + mask + masked


class Case:
    def __init__(self, name, lines):
        self.name, self.data = name, b""
        self.messages, self.pongs, self.close, self.fails = [], [], None, False
        for line in lines:
            mark, *words = WORDS.findall(line)
            if mark == ">":
                self.data += frame_of(words)
            elif words[0] == "text":
                self.messages.append(payload_of(words[1:]).decode())
            elif words[0] == "binary":
                self.messages.append(payload_of(words[1:]))
            elif words[:2] == ["sends", "pong"]:
                self.pongs.append(payload_of(words[2:]))
            elif words[:2] == ["sends", "close"]:
                self.close = int(words[2])
            self.fails = self.fails or words[0] == "error"

    def complaint(self, messages, pongs, close):
        """What was wrong. After a failure answers that were on their way may be missing."""
        good = close == self.close and (
            messages == self.messages[:len(messages)] and pongs == self.pongs[:len(pongs)]
            if self.fails else (messages, pongs) == (self.messages, self.pongs))
        return "" if good else f"{self.name}: {str((messages, pongs, close))[:200]}"


def read_cases():
    found = []
    for file in sorted(TABLE.glob("*.txt")):
        for text in file.read_text().split("\n== ")[1:]:
            name, *lines = text.splitlines()
            lines = as_server(lines) if "role client" in lines else lines
            found.append(Case(name, [line for line in lines if line[:1] in "<>" and line]))
    return found


def as_server(lines):
    """6.4.3 and 6.4.4, chops of one frame, which stand in the table as a server sends them: masked
    (with zeros), and without the last chop, which must not be waited for."""
    inputs = [line for line in lines if line.startswith("> ")]
    first = inputs[0].replace("> bytes hex 81 15", "> bytes hex 81 95 00 00 00 00")
    assert first != inputs[0]
    return [first if line == inputs[0] else line for line in lines if line != inputs[-1]]


def over_http_1(server, case):
    frames = wsproto.connection.Connection(wsproto.connection.ConnectionType.CLIENT)
    messages, parts, pongs = [], [], []
    with RawClient(server, request()) as client:
        assert client.status == 101
        client.send(case.data)
        while data := client.reader.read1(65536):
            frames.receive_data(data)
            for event in frames.events():
                if isinstance(event, wsproto.events.Message):
                    parts.append(event.data)
                    if event.message_finished:
                        messages.append(parts[0][:0].join(parts))
                        parts = []
                elif isinstance(event, wsproto.events.Pong):
                    pongs.append(bytes(event.payload))
                elif isinstance(event, wsproto.events.CloseConnection):
                    return messages, pongs, event.code
    return messages, pongs, None


async def over_http_2(connection, case):
    stream = await connection.websocket("/ws")
    await stream.send_bytes(case.data)
    await connection.until(lambda: stream.close or stream.at_end())
    return stream.messages, stream.pongs, stream.close and stream.close[0]


def test_cases_over_http_1(serve):
    server, cases = serve(ECHO), read_cases()
    complaints = [case.complaint(*over_http_1(server, case)) for case in cases]
    assert len(cases) == CASES and [one for one in complaints if one] == []


def test_cases_over_http_2(serve):
    server, cases = serve(ECHO, H2C), read_cases()

    async def talk():
        complaints = []
        for case in cases:
            async with Connection.open(server, window=1 << 20) as connection:
                complaints.append(case.complaint(*await over_http_2(connection, case)))
        return complaints
    complaints = asyncio.run(talk())
    assert len(cases) == CASES and [one for one in complaints if one] == []
