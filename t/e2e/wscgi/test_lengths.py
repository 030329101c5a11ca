# SPDX-License-Identifier: BSD-3-Clause
"""Messages of every length from 0 to 70 000, and very large ones, come back whole."""
import asyncio
import contextlib
import threading

import pytest
from conftest import SAMPLES
from http2_client import Connection
from test_bad_input import RawClient, frame, no_programs, request
from test_framings import PROGRAMS
from test_http2 import H2C, run

LONGEST = 70000
KEY = b"\x37\xfa\x21\x3d"
CAT = {"bin-path": "/bin/cat"}
PACKETS = {"bin-path": str(PROGRAMS / "echo_packets.py"), "framing": "packet"}
FRAMES = {"bin-path": str(SAMPLES / "ws_echo.py"), "framing": "websocket"}
ENDPOINTS = {
    "lines-text": CAT, "lines-binary": {**CAT, "message-type": "binary"},
    "length-text": {**CAT, "framing": "length"}, "length-binary": {**CAT, "framing": "length"},
    "packet-text": {**PACKETS, "message-type": "text"}, "packet-binary": PACKETS,
    "websocket-text": FRAMES, "websocket-binary": FRAMES}
KINDS = pytest.mark.parametrize("kind", ENDPOINTS)


class Messages:
    """What is sent in a kind of message: a piece of a pattern whose period divides no buffer."""

    def __init__(self, kind, longest=LONGEST):
        self.opcode = 1 if "text" in kind else 2
        allowed = range(32, 127) if self.opcode == 1 else [
            byte for byte in range(256) if "lines" not in kind or chr(byte) not in "\r\n"]
        self.period = len(allowed) // 2 * 2 - 1  # odd: every byte meets every byte of the key
        self.pattern = bytes(allowed)[:self.period] * (longest // self.period + 2)
        # The pattern under the key's four bytes, beginning with each of them.
        self.masked = [self._masked(KEY[-shift:] + KEY[:-shift]) for shift in range(4)]

    def _masked(self, key):
        size = len(self.pattern)
        keys = int.from_bytes((key * (size // 4 + 1))[:size], "big")
        return (int.from_bytes(self.pattern, "big") ^ keys).to_bytes(size, "big")

    def payload(self, size):
        start = size % self.period
        return self.pattern[start:start + size]

    def frame(self, size):
        """As a client sends it."""
        start = size % self.period
        length = bytes([0x80 | size]) if size < 126 else \
            b"\xfe" + size.to_bytes(2, "big") if size < 65536 else b"\xff" + size.to_bytes(8, "big")
        return b"".join((bytes([0x80 | self.opcode]), length, KEY,
                         self.masked[start % 4][start:start + size]))


def lengths(kind):
    """All of them. An empty packet cannot be told from the end, and is not passed on."""
    return range(1 if "packet" in kind else 0, LONGEST + 1)


def read_message(client):
    """(opcode, payload) of a whole message, from however many fragments."""
    first, payload = client.read_frame()
    pieces, head = [payload], first
    while not head & 0x80:
        head, payload = client.read_frame()
        assert head & 0x0f == 0
        pieces.append(payload)
    return first & 0x0f, pieces[0] if len(pieces) == 1 else b"".join(pieces)


@contextlib.contextmanager
def sending(client, frames):
    """All of them, by a thread of its own: reader and writer wait for each other's pipes only."""
    failed = []

    def send():
        try:
            for data in frames:
                client.send(data)
        except OSError as error:
            failed.append(error)
    thread = threading.Thread(target=send)
    thread.start()
    yield
    thread.join()
    assert not failed


@pytest.mark.timeout(300)
@KINDS
def test_every_length_from_0_to_70000(serve, kind):
    server = serve({"/ws": ENDPOINTS[kind]})
    messages = Messages(kind)
    with RawClient(server, request()) as client, \
            sending(client, map(messages.frame, lengths(kind))):
        for size in lengths(kind):
            expected = messages.opcode, messages.payload(size)
            assert read_message(client) == expected, f"length {size}"
        client.send(frame(b"\x03\xe8", opcode=8))
        assert client.read_close() == 1000
    no_programs(server)


@pytest.mark.timeout(500)
@KINDS
def test_every_length_from_0_to_70000_over_http_2(serve, kind, pytestconfig):
    """python3-h2 takes half a minute for all lengths. So each kind has its share of them, and
    together they have all; with --all-lengths each has all."""
    server = serve({"/ws": ENDPOINTS[kind]}, H2C)
    messages = Messages(kind)
    sizes = lengths(kind)
    if not pytestconfig.getoption("all_lengths"):
        sizes = [size for size in sizes if size % len(ENDPOINTS) == list(ENDPOINTS).index(kind)]

    async def talk():
        async with Connection.open(server, window=1 << 20) as connection:
            stream = await connection.websocket("/ws")

            async def send():
                for size in sizes:
                    await stream.send_bytes(messages.frame(size))
            sender = asyncio.create_task(send())
            for size in sizes:
                expected = messages.payload(size)
                answer = await stream.recv()
                assert answer == (expected if messages.opcode == 2 else expected.decode()), \
                    f"length {size}"
            await sender
            await stream.send_close()
            assert await stream.wait_closed() == 1000
    asyncio.run(asyncio.wait_for(talk(), 480))
    no_programs(server)


LARGE = pytest.mark.parametrize("kind", [kind for kind in ENDPOINTS if "packet" not in kind])
SIZES = pytest.mark.parametrize("size", [1 << 20, 16 << 20, 64 << 20],
                                ids=["1MiB", "16MiB", "64MiB"])


@LARGE
@SIZES
def test_large_messages_come_back_whole(serve, kind, size):
    server = serve({"/ws": ENDPOINTS[kind]})
    messages = Messages(kind, size)
    before = server.rss()
    with RawClient(server, request()) as client, sending(client, [messages.frame(size)]):
        assert read_message(client) == (messages.opcode, messages.payload(size))
        assert server.rss() - before < 4 << 20  # passed on, not gathered
        client.send(frame(b"\x03\xe8", opcode=8))
        assert client.read_close() == 1000
    no_programs(server)


@LARGE
@SIZES
def test_large_messages_come_back_whole_over_http_2(serve, kind, size):
    server = serve({"/ws": ENDPOINTS[kind]}, H2C)
    messages = Messages(kind, size)
    before = server.rss()

    async def talk():
        async with Connection.open(server, window=1 << 20) as connection:
            stream = await connection.websocket("/ws")
            sender = asyncio.create_task(stream.send_bytes(messages.frame(size)))
            answer = await stream.recv()
            await sender
            assert isinstance(answer, str) == (messages.opcode == 1)
            assert (answer.encode() if messages.opcode == 1 else answer) == messages.payload(size)
            assert server.rss() - before < 8 << 20
            await stream.send_close()
            assert await stream.wait_closed() == 1000
    run(talk())
    no_programs(server)


def test_the_largest_packet_comes_back_whole_and_a_larger_one_is_refused(serve):
    """The bound that a socket of packets has (doc/mod_wscgi.md, packet)."""
    server = serve({"/ws": ENDPOINTS["packet-binary"]})
    messages = Messages("packet-binary", 184321)
    with RawClient(server, request()) as client:
        client.send(messages.frame(184320))
        assert read_message(client) == (2, messages.payload(184320))
        client.send(messages.frame(184321))
        assert client.read_close() == 1009
    no_programs(server)


def test_an_empty_packet_is_not_passed_on(serve):
    server = serve({"/ws": ENDPOINTS["packet-text"]})
    with RawClient(server, request()) as client:
        client.send(frame(b"") + frame(b"next"))
        assert read_message(client) == (1, b"next")
    no_programs(server)
