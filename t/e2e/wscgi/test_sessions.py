# SPDX-License-Identifier: BSD-3-Clause
"""A session from end to end: python3-websockets, lighttpd, and a program on its pipes."""
import asyncio
import os
import random
import signal
import time

import pytest
import websockets
from conftest import SAMPLES

ECHO_LINES = {"bin-path": "/bin/cat"}
ECHO_FRAMES = {"bin-path": str(SAMPLES / "ws_echo.py"), "framing": "websocket"}
COUNT_FAST = "#!/bin/sh\nfor n in 1 2 3; do echo $n; done\n"


def address(server, path="/ws"):
    return server.url(path, "ws")


def connect(server, path="/ws", **options):
    return websockets.connect(address(server, path), max_size=None, **options)


def sizes(count, largest):
    """0, the largest, the borders of the frame header's length fields, and others at random."""
    chosen = [0, 1, 125, 126, 127, 65535, 65536, largest]
    generator = random.Random(1)
    return chosen + [generator.randrange(largest) for _ in range(count - len(chosen))]


@pytest.mark.parametrize("endpoint", [ECHO_LINES, ECHO_FRAMES], ids=["lines", "websocket"])
def test_a_thousand_messages_come_back_whole(serve, endpoint):
    server = serve({"/ws": endpoint})

    async def talk():
        async with connect(server) as client:
            for size in sizes(1000, 70000):
                message = ("äb€c" * (size // 4 + 1))[:size]
                await client.send(message)
                assert await client.recv() == message
    asyncio.run(talk())


@pytest.mark.parametrize("endpoint", [ECHO_LINES, ECHO_FRAMES], ids=["lines", "websocket"])
def test_many_messages_in_flight_come_back_in_order(serve, endpoint):
    server = serve({"/ws": endpoint})
    messages = [f"{n}-" + "x" * size for n, size in enumerate(sizes(300, 70000))]

    async def talk():
        async with connect(server) as client:
            async def send():
                for message in messages:
                    await client.send(message)
            sender = asyncio.create_task(send())
            for message in messages:
                assert await client.recv() == message
            await sender
    asyncio.run(talk())


@pytest.mark.parametrize("size", [1 << 20, 16 << 20])
def test_large_messages(serve, size):
    server = serve({"/ws": ECHO_LINES})

    async def talk():
        async with connect(server) as client:
            message = "0123456789abcde " * (size // 16)
            await client.send(message)
            assert await client.recv() == message
    asyncio.run(talk())


@pytest.mark.parametrize("endpoint", [ECHO_LINES, ECHO_FRAMES], ids=["lines", "websocket"])
def test_a_message_followed_at_once_by_close_is_answered(serve, endpoint):
    server = serve({"/ws": endpoint})

    async def talk():
        client = await connect(server)
        await client.send("last words")
        closing = asyncio.create_task(client.close())
        answer = await client.recv()
        await closing
        return answer
    for _ in range(50):
        assert asyncio.run(talk()) == "last words"


@pytest.mark.parametrize("ending, code", [("exit 0", 1000), ("exit 3", 1011), ("kill -9 $$", 1011)])
def test_the_exit_status_decides_the_close_code(serve, program, ending, code):
    server = serve({"/ws": {"bin-path": program("p", f"#!/bin/sh\necho hello\n{ending}\n")}})

    async def talk():
        async with connect(server) as client:
            assert await client.recv() == "hello"
            with pytest.raises(websockets.ConnectionClosed):
                await client.recv()
            return client.close_code
    assert asyncio.run(talk()) == code


def test_a_last_line_without_newline_is_delivered(serve, program):
    server = serve({"/ws": {"bin-path": program("p", "#!/bin/sh\nprintf 'one\\ntwo'\n")}})

    async def talk():
        async with connect(server) as client:
            return [message async for message in client]
    assert asyncio.run(talk()) == ["one", "two"]


def test_no_session_leaves_a_process_or_descriptor_behind(serve, program):
    """Ended by the program, by the client's Close, and by the client's death; with a grandchild."""
    path = program("p", "#!/bin/sh\nsleep 300 &\ncat\n")
    server = serve({"/quick": {"bin-path": program("q", COUNT_FAST)},
                    "/ws": {"bin-path": path, "grace": 1}})
    descriptors = len(server.fds())

    async def talk():
        async with connect(server, "/quick") as client:
            assert [message async for message in client] == ["1", "2", "3"]
        async with connect(server) as client:
            await client.send("x")
            await client.recv()
        client = await connect(server)
        await client.send("x")
        await client.recv()
        client.transport.abort()
    for _ in range(5):
        asyncio.run(talk())
    server.wait_until(lambda: not server.children(), "the programs to end")
    server.wait_until(lambda: len(server.fds()) <= descriptors, "the descriptors to be closed")


def test_a_program_that_ignores_everything_is_killed(serve, program):
    path = program("p", "#!/bin/sh\ntrap '' TERM HUP\necho hello\nwhile :; do sleep 1; done\n")
    server = serve({"/ws": {"bin-path": path, "grace": 1}})

    async def talk():
        client = await connect(server)
        assert await client.recv() == "hello"
        client.transport.abort()
    asyncio.run(talk())
    server.wait_until(lambda: not server.children(), "the program to be killed")


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 1006), (signal.SIGINT, 1001)])
def test_stopping_the_server_ends_the_programs(serve, program, number, code):
    server = serve({"/ws": {"bin-path": program("p", "#!/bin/sh\ntrap '' TERM\ncat\n"),
                            "grace": 1}})

    async def talk():
        client = await connect(server)
        await client.send("x")
        await client.recv()
        children = server.children()
        stopping = asyncio.get_running_loop().run_in_executor(None, server.stop, number)
        await client.wait_closed()
        await stopping
        return children, client.close_code
    children, close_code = asyncio.run(talk())
    assert children and not any(os.path.exists(f"/proc/{pid}") for pid in children)
    assert close_code == code


def test_a_client_that_does_not_read_stops_its_program(serve):
    server = serve({"/ws": {"bin-path": "/usr/bin/yes"}})

    async def talk():
        client = await connect(server, max_queue=1)
        await client.recv()
        client.transport.pause_reading()
        pid = server.wait_until(server.children, "the program")[0]
        server.wait_until(lambda: "pipe" in open(f"/proc/{pid}/wchan").read()
                          or state(pid) == "S", "the program to be stopped by its pipe")
        before = server.rss()
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            assert server.rss() - before < 4 << 20
            await asyncio.sleep(0.05)
        client.transport.abort()

    def state(pid):
        return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0]
    asyncio.run(talk())


def test_a_program_that_does_not_read_stops_its_client(serve, program):
    server = serve({"/ws": {"bin-path": program("p", "#!/bin/sh\nexec sleep 300\n")}})

    async def talk():
        client = await connect(server)
        before = server.rss()

        async def flood():
            while True:
                await client.send("x" * 65536)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(flood(), 2)
        assert server.rss() - before < 4 << 20
        client.transport.abort()
    asyncio.run(talk())


def test_pings_are_answered_and_sent(serve):
    server = serve({"/ws": {**ECHO_LINES, "ping-interval": 1, "pong-timeout": 1}})

    async def talk():
        async with connect(server, ping_interval=None) as client:
            pong = await client.ping(b"hello")
            await asyncio.wait_for(pong, 5)
            pings = []
            original = client.pong

            async def pong_and_count(data=b""):
                pings.append(data)
                await original(data)
            client.pong = pong_and_count
            await asyncio.sleep(0)
            deadline = time.monotonic() + 15
            while len(pings) < 2:
                assert time.monotonic() < deadline, "no pings"
                await asyncio.sleep(0.05)
    asyncio.run(talk())


def test_environment_is_that_of_cgi(serve):
    server = serve({"/env": {"bin-path": "/usr/bin/env",
                             "bin-environment": {"COLOUR": "blue green"}}})

    async def talk():
        async with connect(server, "/env/more/path?a=b&c",
                                 extra_headers={"X-Test": "yes", "Proxy": "evil"}) as client:
            return dict([message.split("=", 1) async for message in client])
    variables = asyncio.run(talk())
    port = str(server.port)
    assert variables.items() >= {
        "GATEWAY_INTERFACE": "CGI/1.1", "REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1",
        "SCRIPT_NAME": "/env", "PATH_INFO": "/more/path", "QUERY_STRING": "a=b&c",
        "REQUEST_URI": "/env/more/path?a=b&c", "REQUEST_SCHEME": "http", "SERVER_PORT": port,
        "REMOTE_ADDR": "127.0.0.1", "REMOTE_HOST": "127.0.0.1", "HTTP_X_TEST": "yes",
        "HTTP_HOST": f"127.0.0.1:{port}", "HTTP_UPGRADE": "websocket", "COLOUR": "blue green",
    }.items()
    assert "HTTP_PROXY" not in variables
    assert len(variables["UNIQUE_ID"]) == 32


def test_stderr_goes_to_the_error_log_with_the_session_id(serve, program):
    path = program("p", "#!/bin/sh\necho $UNIQUE_ID\necho oops >&2\n")
    server = serve({"/ws": {"bin-path": path}})

    async def talk():
        async with connect(server) as client:
            return await client.recv()
    session_id = asyncio.run(talk())
    server.wait_for(f"{session_id} stderr: oops")


def test_the_samples_do_what_their_page_says(serve, program):
    server = serve({"/count": {"bin-path": str(SAMPLES / "count.sh")},
                    "/echo": {"bin-path": str(SAMPLES / "echo.sh")}})

    async def count():
        async with connect(server, "/count") as client:
            return [await client.recv() for _ in range(2)]

    async def echo():
        async with connect(server, "/echo") as client:
            await client.send(" a \\ b ")
            return await client.recv()
    assert asyncio.run(count()) == ["1", "2"]
    assert asyncio.run(echo()) == " a \\ b "


def test_a_client_whose_program_pauses_is_not_taken_for_dead(serve, program):
    path = program("p", "#!/bin/sh\nsleep 4\nexec cat\n")
    server = serve({"/ws": {"bin-path": path, "ping-interval": 1, "pong-timeout": 1}})

    async def talk():
        async with connect(server, ping_interval=None) as client:
            message = "x" * 300000
            await client.send(message)
            assert await asyncio.wait_for(client.recv(), 30) == message
    asyncio.run(talk())
