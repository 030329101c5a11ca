# SPDX-License-Identifier: BSD-3-Clause
"""Messages of every length from 0 to 70 000, and very large ones, come back whole."""
import asyncio
import contextlib
import threading

import pytest
from conftest import SAMPLES
from http2_client import Connection
from test_bad_input import RawClient, frame, no_programs, request
from test_http2 import H2C, run

LONGEST = 70000
PATTERN = bytes(range(32, 127)) * (LONGEST // 95 + 2)  # of a period no buffer size divides
ENDPOINTS = {"lines": {"bin-path": "/bin/cat"},
             "length": {"bin-path": "/bin/cat", "framing": "length"},
             "websocket": {"bin-path": str(SAMPLES / "ws_echo.py"), "framing": "websocket"}}


def message_of(size):
    return PATTERN[size % 95:size % 95 + size]


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
def sending(client, messages):
    """All of them, by a thread of its own: reader and writer wait for each other's pipes only."""
    failed = []

    def send():
        try:
            for data in messages:
                client.send(data)
        except OSError as error:
            failed.append(error)
    thread = threading.Thread(target=send)
    thread.start()
    yield
    thread.join()
    assert not failed


@pytest.mark.timeout(300)
@pytest.mark.parametrize("framing, opcode", [("length", 1), ("length", 2), ("lines", 1)],
                         ids=["length-text", "length-binary", "lines-text"])
def test_every_length_from_0_to_70000(serve, framing, opcode):
    server = serve({"/ws": ENDPOINTS[framing]})
    with RawClient(server, request()) as client, \
            sending(client, (frame(message_of(size), opcode) for size in range(LONGEST + 1))):
        for size in range(LONGEST + 1):
            assert read_message(client) == (opcode, message_of(size)), f"length {size}"
        client.send(frame(b"\x03\xe8", opcode=8))
        assert client.read_close() == 1000
    no_programs(server)


KINDS = pytest.mark.parametrize("framing, opcode", [
    ("length", 1), ("length", 2), ("lines", 1), ("websocket", 1), ("websocket", 2)],
    ids=["length-text", "length-binary", "lines-text", "websocket-text", "websocket-binary"])
SIZES = pytest.mark.parametrize("size", [1 << 20, 16 << 20, 64 << 20],
                                ids=["1MiB", "16MiB", "64MiB"])


def large_message(size):
    return (PATTERN * (size // len(PATTERN) + 1))[:size]


@KINDS
@SIZES
def test_large_messages_come_back_whole(serve, framing, opcode, size):
    server = serve({"/ws": ENDPOINTS[framing]})
    message = large_message(size)
    before = server.rss()
    with RawClient(server, request()) as client, sending(client, [frame(message, opcode)]):
        assert read_message(client) == (opcode, message)
        assert server.rss() - before < 4 << 20  # passed on, not gathered
        client.send(frame(b"\x03\xe8", opcode=8))
        assert client.read_close() == 1000
    no_programs(server)


@KINDS
@SIZES
def test_large_messages_come_back_whole_over_http_2(serve, framing, opcode, size):
    server = serve({"/ws": ENDPOINTS[framing]}, H2C)
    message = large_message(size)
    if opcode == 1:
        message = message.decode()
    before = server.rss()

    async def talk():
        async with Connection.open(server, window=1 << 20) as connection:
            stream = await connection.websocket("/ws")
            sender = asyncio.create_task(stream.send(message))
            answer = await stream.recv()
            await sender
            assert isinstance(answer, str) == (opcode == 1)
            assert len(answer) == size and answer == message
            assert server.rss() - before < 8 << 20
            await stream.send_close()
            assert await stream.wait_closed() == 1000
    run(talk())
    no_programs(server)
