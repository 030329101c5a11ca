# SPDX-License-Identifier: BSD-3-Clause
"""wss:// over HTTP/1.1."""
import asyncio
import random
import socket

import pytest
import websockets
from conftest import SAMPLES

ECHO_LINES = {"bin-path": "/bin/cat"}
ECHO_FRAMES = {"bin-path": str(SAMPLES / "ws_echo.py"), "framing": "websocket"}
BOTH = pytest.mark.parametrize("endpoint", [ECHO_LINES, ECHO_FRAMES], ids=["lines", "websocket"])


@pytest.fixture
def serve_tls(serve, tls):
    return lambda endpoints, config="": serve(endpoints, tls.config + config)


@pytest.fixture
def connect(tls):
    def open_client(path="/ws", **options):
        return websockets.connect(tls.url(path, "wss"), ssl=tls.context("http/1.1"),
                                  max_size=None, **options)
    return open_client


@BOTH
def test_messages_of_all_kinds_of_sizes(serve_tls, connect, endpoint):
    serve_tls({"/ws": endpoint})
    generator = random.Random(3)
    borders = [n + d for n in (4096, 8192, 16384, 32768, 65536) for d in (-9, -4, -1, 0, 1)]
    sizes = [*range(130), *borders, *(generator.randrange(70000) for _ in range(500)), 70000]

    async def talk():
        async with connect() as client:
            for size in sizes:
                message = ("äb€c" * (size // 4 + 1))[:size]
                await client.send(message)
                assert await client.recv() == message
    asyncio.run(talk())


@pytest.mark.parametrize("size", [1 << 20, 16 << 20])
def test_large_messages(serve_tls, connect, size):
    serve_tls({"/ws": ECHO_LINES})

    async def talk():
        async with connect() as client:
            message = "0123456789abcde " * (size // 16)
            await client.send(message)
            assert await client.recv() == message
    asyncio.run(talk())


@BOTH
def test_many_messages_in_flight_come_back_in_order(serve_tls, connect, endpoint):
    serve_tls({"/ws": endpoint})
    messages = [f"{n} " + "x" * (n * 7919 % 70000) for n in range(300)]

    async def talk():
        async with connect() as client:
            async def send():
                for message in messages:
                    await client.send(message)
            sender = asyncio.create_task(send())
            for message in messages:
                assert await client.recv() == message
            await sender
    asyncio.run(talk())


@BOTH
def test_a_message_followed_at_once_by_close_is_answered(serve_tls, connect, endpoint):
    serve_tls({"/ws": endpoint})

    async def talk():
        client = await connect()
        await client.send("last words")
        closing = asyncio.create_task(client.close())
        answer = await client.recv()
        await closing
        assert client.close_code == 1000
        return answer
    for _ in range(50):
        assert asyncio.run(talk()) == "last words"


def test_frames_in_the_same_record_as_the_request(serve_tls, tls):
    """More than lighttpd reads at once is waiting in OpenSSL when the session begins."""
    serve_tls({"/ws": ECHO_LINES})
    request = (b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
               b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
               b"Sec-WebSocket-Version: 13\r\n\r\n")
    frames = b"\x81\x85\0\0\0\0hello" * 1000
    with socket.create_connection(("127.0.0.1", tls.port), timeout=20) as plain, \
            tls.context("http/1.1").wrap_socket(plain, server_hostname="localhost") as client:
        client.sendall(request + frames)
        answer = b""
        while answer.count(b"\x81\x05hello") < 1000:
            piece = client.recv(65536)
            assert piece, answer[-200:]
            answer += piece


@pytest.mark.parametrize("ending", ["close", "close_notify", "abort"])
def test_clients_that_leave_in_the_ways_of_tls(serve_tls, connect, ending):
    server = serve_tls({"/ws": {"bin-path": "/bin/cat", "grace": 1}})
    descriptors = len(server.fds())

    async def talk():
        client = await connect()
        await client.send("x")
        await client.recv()
        if ending == "close":
            await client.close()
        elif ending == "close_notify":
            client.transport.close()
        else:
            client.transport.abort()
    for _ in range(5):
        asyncio.run(talk())
    server.wait_until(lambda: not server.children(), "the programs to end")
    server.wait_until(lambda: len(server.fds()) <= descriptors, "the descriptors to be closed")


def test_a_client_that_does_not_read_stops_its_program(serve_tls, connect):
    server = serve_tls({"/ws": {"bin-path": "/usr/bin/yes"}})

    async def talk():
        client = await connect(max_queue=1)
        await client.recv()
        client.transport.pause_reading()
        pid = server.wait_until(server.children, "the program")[0]
        server.wait_until(lambda: "pipe" in open(f"/proc/{pid}/wchan").read()
                          or stopped(pid), "the program to be stopped by its pipe")
        assert server.rss() < 64 << 20
        client.transport.abort()

    def stopped(pid):
        return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] == "S"
    asyncio.run(talk())
    server.wait_until(lambda: not server.children(), "the program to end")


def test_the_environment_tells_of_tls(serve_tls, connect):
    serve_tls({"/env": {"bin-path": "/usr/bin/env"}},
                       'ssl.verifyclient.activate = "disable"\n')

    async def talk():
        async with connect("/env") as client:
            return dict([line.split("=", 1) async for line in client])
    variables = asyncio.run(talk())
    assert variables.items() >= {"HTTPS": "on", "REQUEST_SCHEME": "https"}.items()
    assert variables["SSL_PROTOCOL"].startswith("TLSv1.")
