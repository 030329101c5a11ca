# SPDX-License-Identifier: BSD-3-Clause
"""Model shared: one program for all sessions."""
import asyncio
import contextlib
import os
import signal
import socket
import time

import pytest
import websockets
from test_bad_input import RawClient, frame, request


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
                while not seen or not seen[-1].startswith("last"):
                    if policy == "skip" and len(seen) % 20 == 0:  # it has caught up once
                        await quick.send(f"last {message}")
                        await quick.recv()
                    seen.append(await asyncio.wait_for(slow.recv(), 5))
        code = slow.close_code
        slow.transport.abort()
        return seen, code
    seen, code = asyncio.run(talk())
    assert policy == "skip" or code == 1013
    assert policy == "drop" or seen[-1].startswith("last")
    assert all(one.endswith(f" {message}") for one in seen)  # whole ones
    numbers = [int(one.split()[0]) for one in seen if not one.startswith("last")]
    assert numbers == sorted(set(numbers)) and 0 < len(numbers) < 2000


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


def test_a_program_that_does_not_read_stops_only_those_who_talk(serve, program, tmp_path):
    """Until it reads: nothing is lost, and meanwhile nothing grows."""
    os.mkfifo(tmp_path / "fifo")
    path = program("p", f"""#!/usr/bin/python3
import sys
open("{tmp_path}/fifo").read()
names, size = [], 0
for line in sys.stdin.buffer:
    name, number, _ = line.split()
    names.append(name)
    size += len(line) - 1
    if number == b"399":
        print(name.decode(), names.count(name), size, flush=True)
""")
    server = serve({"/ws": {"bin-path": path, "model": "shared", "linger": 0, "grace": 1,
                            "ping-interval": 1, "pong-timeout": 1}})

    async def flood(client, name):
        for number in range(400):
            await client.send(f"{name} {number} x".ljust(65536, "x"))

    async def talk():
        quiet = await connect(server)
        talkers = [await connect(server, ping_interval=None) for _ in range(4)]
        before = server.rss()
        floods = [asyncio.create_task(flood(client, name))
                  for client, name in zip(talkers, "abcd")]
        await asyncio.sleep(3)  # longer than a client may be silent
        assert not any(task.done() for task in floods)
        assert server.rss() - before < 4 << 20
        await asyncio.wait_for(await quiet.ping(), 10)  # the server still hears it
        (tmp_path / "fifo").write_text("go\n")
        await asyncio.gather(*floods)
        seen = [(await quiet.recv()).split() for _ in talkers]
        assert sorted((name, count) for name, count, _ in seen) == [(name, "400") for name in "abcd"]
        assert int(seen[-1][2]) == 4 * 400 * 65536
        for client in (quiet, *talkers):
            await client.close()
            assert client.close_code == 1000
    asyncio.run(talk())


@pytest.mark.parametrize("ending", ["close", "reset", "nothing"])
def test_who_has_talked_to_a_program_that_never_reads_may_leave(serve, program, ending):
    path = program("p", "#!/bin/sh\nexec sleep 300\n")
    server = serve({"/ws": {"bin-path": path, "model": "shared", "linger": 0, "grace": 1,
                            "close-timeout": 1, "ping-interval": 1, "pong-timeout": 1,
                            "max-age": 8 if ending == "nothing" else 0}})
    descriptors = len(server.fds())
    clients = [RawClient(server, request()) for _ in range(3)]
    for client in clients:
        client.socket.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            while True:
                client.send(frame(b"x" * 60000))
    last = RawClient(server, request())  # it has no room for a single message
    last.send(frame(b"x") + frame(b"\x03\xe8", opcode=8))
    if ending == "close":
        assert last.read_close() == 1000
    for client in (*clients, last):
        if ending == "reset":
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if ending != "nothing":
            client.close()
    server.wait_until(lambda: not server.children(), "the program to end after the last session",
                      timeout=30)
    for client in clients:
        client.close()
    server.wait_until(lambda: len(server.fds()) <= descriptors, "the descriptors to be closed")


def test_a_burst_of_messages_is_no_reason_to_close(serve, program):
    path = program("p", "#!/bin/sh\nhead -n 5000 | wc\n")
    server = serve({"/ws": {"bin-path": path, "model": "shared", "window": 4096}})
    with RawClient(server, request()) as client:
        client.send(frame(b"x" * 10000) * 5000)
        assert client.read_frame()[1].split() == [b"5000", b"5000", b"50005000"]
