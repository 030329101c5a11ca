# SPDX-License-Identifier: BSD-3-Clause
"""Model shared: one program for all sessions."""
import asyncio
import contextlib
import os
import signal
import time

import pytest
import websockets


def connect(server, path="/ws", **options):
    return websockets.connect(server.url(path, "ws"), max_size=None, **options)


SHARED_CAT = {"bin-path": "/bin/cat", "model": "shared", "linger": 0}


def test_every_session_gets_what_any_of_them_says(serve):
    server = serve({"/ws": SHARED_CAT})

    async def talk():
        clients = [await connect(server) for _ in range(10)]
        for number in range(20):
            await clients[number % 10].send(f"message {number}")
        expected = None
        for client in clients:
            seen = [await client.recv() for _ in range(20)]
            expected = expected or seen
            assert seen == expected
        assert sorted(expected) == sorted(f"message {number}" for number in range(20))
        assert len(server.children()) == 1
        for client in clients:
            await client.close()
    asyncio.run(talk())
    server.wait_until(lambda: not server.children(), "the program to end after the last session")


def test_messages_in_pieces_are_not_mixed_up(serve):
    server = serve({"/ws": SHARED_CAT})

    async def talk():
        clients = [await connect(server) for _ in range(4)]

        async def pieces(number):
            for _ in range(10):
                yield str(number) * 1000
                await asyncio.sleep(0)
        await asyncio.gather(*(client.send(pieces(number))
                               for number, client in enumerate(clients)))
        seen = [await clients[0].recv() for _ in clients]
        assert sorted(seen) == [str(number) * 10000 for number in range(4)]
        for client in clients:
            await client.close()
    asyncio.run(talk())


def test_a_late_session_joins_the_running_program(serve, program, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    path = program("p", f"#!/bin/sh\necho started\nexec cat {fifo}\n")
    server = serve({"/ws": {"bin-path": path, "model": "shared"}})

    async def talk():
        first = await connect(server)
        assert await first.recv() == "started"
        second = await connect(server)
        with open(fifo, "w", buffering=1) as writer:
            writer.write("news\n")
            assert await first.recv() == "news"
            assert await second.recv() == "news"
        for client in (first, second):
            with pytest.raises(websockets.ConnectionClosedOK):
                await client.recv()
            assert client.close_code == 1000
    asyncio.run(talk())


def test_when_the_program_dies_all_are_told_and_the_next_session_starts_it_again(serve):
    server = serve({"/ws": SHARED_CAT})

    async def talk():
        clients = [await connect(server) for _ in range(3)]
        await clients[0].send("x")
        for client in clients:
            assert await client.recv() == "x"
        os.kill(server.children()[0], signal.SIGKILL)
        for client in clients:
            with pytest.raises(websockets.ConnectionClosedError):
                await client.recv()
            assert client.close_code == 1011
        async with connect(server) as client:
            await client.send("again")
            assert await client.recv() == "again"
    asyncio.run(talk())


@pytest.mark.parametrize("policy", ["drop", "skip"])
def test_a_slow_reader_does_not_slow_the_rest(serve, policy):
    server = serve({"/ws": {**SHARED_CAT, "slow": policy}})
    message = "x" * 10000

    async def talk():
        slow = await connect(server, max_queue=1)
        await slow.send("hello")
        assert await slow.recv() == "hello"
        slow.transport.pause_reading()
        before = server.rss()
        async with connect(server) as quick:
            for number in range(2000):
                await quick.send(f"{number} {message}")
                assert (await quick.recv()).startswith(f"{number} ")
        assert server.rss() - before < 8 << 20
        slow.transport.resume_reading()
        seen = []
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                seen.append(await asyncio.wait_for(slow.recv(), 1))
        return seen, slow
    try:
        seen, slow = asyncio.run(talk())
    except asyncio.TimeoutError:
        assert policy == "skip"
        return
    assert policy == "drop" and slow.close_code == 1013
    assert all(one.endswith(message) for one in seen)


def test_linger_keeps_the_program_between_sessions(serve, program):
    path = program("p", "#!/bin/sh\necho $$\nexec cat\n")
    server = serve({"/ws": {"bin-path": path, "model": "shared", "linger": 2}})

    async def visit():
        async with connect(server) as client:
            await client.send("x")
            return await client.recv()
    pid = asyncio.run(visit())
    assert asyncio.run(visit()) == "x"  # the same program: it does not begin again
    assert [str(one) for one in server.children()] == [pid]
    started = time.monotonic()
    server.wait_until(lambda: not server.children(), "the program to end")
    assert time.monotonic() - started > 0.9


def test_a_program_that_does_not_read_costs_only_those_who_talk(serve, program):
    path = program("p", "#!/bin/sh\nexec sleep 300\n")
    server = serve({"/ws": {"bin-path": path, "model": "shared", "linger": 0, "grace": 1,
                            "ping-interval": 1, "pong-timeout": 1}})

    async def talk():
        quiet = await connect(server)
        async with connect(server) as talker:
            with pytest.raises(websockets.ConnectionClosed):
                for _ in range(100):
                    await talker.send("x" * 65536)
                await talker.recv()
            assert talker.close_code == 1013
        server.wait_until(lambda: "1013" in server.log_text(), "the talker's end in the log")
        pong = await quiet.ping()  # the server still hears it
        await asyncio.wait_for(pong, 10)
        await quiet.close()
    asyncio.run(talk())
