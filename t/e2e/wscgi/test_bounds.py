# SPDX-License-Identifier: BSD-3-Clause
"""What bounds a session: its message rate, its age, its silence; resource limits of its program."""
import asyncio
import time

import pytest
import websockets
from conftest import SAMPLES
from http2_client import Connection
from test_bad_input import RawClient, frame, no_programs, request

CAT = {"bin-path": "/bin/cat"}
FRAMES = {"bin-path": str(SAMPLES / "ws_echo.py"), "framing": "websocket", "grace": 1}
H2C = 'server.feature-flags += ( "server.h2proto" => "enable", "server.h2c" => "enable" )\n'
CLOSE = frame(b"\x03\xe8", opcode=8)


# ---- Message rate

def assert_paced(times, rate, burst):
    """Times are looked at once a second: in n seconds at most `burst` and n + 1 times `rate`."""
    for first in range(len(times)):
        for last in range(first, len(times), rate):
            seconds = times[last] - times[first]
            assert last - first + 1 <= burst + rate * (seconds + 1), (first, last, seconds)


@pytest.mark.parametrize("endpoint", [
    CAT, {**CAT, "framing": "length"}, {**CAT, "model": "shared"}, {**CAT, "deflate": "enable"}],
    ids=["lines", "length", "shared", "deflate"])
def test_a_client_that_talks_too_fast_is_slowed_down_and_loses_nothing(serve, endpoint):
    server = serve({"/ws": {**endpoint, "message-rate": 10, "message-burst": 20}})

    async def talk():
        async with websockets.connect(server.url("/ws", "ws")) as client:
            for number in range(60):
                await client.send(f"{number}")
            times = []
            for number in range(60):
                assert await client.recv() == f"{number}"
                times.append(time.monotonic())
            return times
    times = asyncio.run(talk())
    assert times[19] - times[0] < 1  # the burst
    assert times[59] - times[0] > 2.5
    assert_paced(times, 10, 20)


def test_a_rate_alone_is_its_burst_too_and_fragments_do_not_count(serve):
    server = serve({"/ws": {**CAT, "message-rate": 5}})
    with RawClient(server, request()) as client:
        message = frame(b"a", fin=False) + frame(b"b", 0, fin=False) * 50 + frame(b"c", 0)
        client.send(message * 15 + CLOSE)
        started, text = time.monotonic(), b""
        while len(text) < 52 * 15:
            text += client.read_frame()[1]
        assert time.monotonic() - started > 1
        assert text == (b"a" + b"b" * 50 + b"c") * 15
        assert client.read_close() == 1000


def test_a_client_that_is_slowed_down_is_not_taken_for_dead(serve):
    """Its pongs wait behind its messages."""
    server = serve({"/ws": {**CAT, "message-rate": 1, "ping-interval": 1, "pong-timeout": 1}})

    async def talk():
        async with websockets.connect(server.url("/ws", "ws"), ping_interval=None) as client:
            for number in range(6):
                await client.send(f"{number}")
            return [await client.recv() for _ in range(6)]
    assert asyncio.run(talk()) == [f"{number}" for number in range(6)]


@pytest.mark.parametrize("size", [10, 40000])
def test_the_rate_holds_on_http_2_and_for_that_stream_only(serve, size):
    server = serve({"/slow": {**CAT, "message-rate": 10}, "/ws": CAT}, H2C)

    async def talk():
        async with Connection.open(server) as connection:
            slow, quick = await connection.websocket("/slow"), await connection.websocket("/ws")
            messages = [f"{number}".ljust(size) for number in range(35)]

            async def send():
                for message in messages:
                    await slow.send(message)
            started = time.monotonic()
            sending = asyncio.create_task(send())
            for number in range(100):
                await quick.send(f"{number}")
                assert await quick.recv() == f"{number}"
            assert time.monotonic() - started < 2
            for message in messages:
                assert await slow.recv() == message
            assert time.monotonic() - started > 1.5
            await sending
    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_flood_against_the_rate_grows_nothing(serve):
    server = serve({"/ws": {**CAT, "message-rate": 1}})
    before = server.rss()
    with RawClient(server, request(), buffer=4096) as client:
        client.socket.settimeout(1)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 100 << 20:
                sent += client.socket.send(frame(b"x") * 10000)
        assert sent < 20 << 20 and server.rss() - before < 4 << 20
    # It has gone, and is noticed though nobody reads it.
    no_programs(server)


# ---- Age and silence

@pytest.mark.parametrize("option, reason", [
    ({"max-age": 2}, "the session has reached its age limit"), ({"idle-timeout": 2}, "idle")])
@pytest.mark.parametrize("endpoint", [
    CAT, {**CAT, "framing": "stream"}, {**CAT, "framing": "length"}, {**CAT, "model": "shared"}],
    ids=["lines", "stream", "length", "shared"])
def test_old_and_silent_sessions_are_closed_with_1001(serve, endpoint, option, reason):
    server = serve({"/ws": {**endpoint, **option}})

    async def talk():
        started = time.monotonic()
        client = await websockets.connect(server.url("/ws", "ws"))
        await client.send("x")
        await client.recv()
        await client.wait_closed()
        return client.close_code, client.close_reason, time.monotonic() - started
    code, seen, seconds = asyncio.run(talk())
    assert (code, seen) == (1001, reason)
    assert 2 <= seconds < 6
    server.wait_for(f": closed with 1001: {reason}")


def test_who_talks_is_not_idle(serve):
    server = serve({"/in": {"bin-path": "/bin/sh", "arguments": ["-c", "cat >/dev/null"],
                            "idle-timeout": 2},
                    "/out": {"bin-path": str(SAMPLES / "count.sh"), "idle-timeout": 2},
                    "/frames": {**FRAMES, "idle-timeout": 2}})

    async def talk(path, message):
        async with websockets.connect(server.url(path, "ws")) as client:
            until = time.monotonic() + 4
            while time.monotonic() < until:
                if message:
                    await client.send(message)
                    await asyncio.sleep(0.5)
                else:
                    await client.recv()
            await (await client.ping())

    async def all_of_them():
        await asyncio.gather(talk("/in", "x"), talk("/out", ""), talk("/frames", "x"))
    asyncio.run(all_of_them())


@pytest.mark.parametrize("option, reason", [
    ({"max-age": 2}, "age limit"), ({"idle-timeout": 2}, "idle")])
@pytest.mark.parametrize("deaf", [False, True], ids=["polite", "deaf"])
def test_a_program_with_frames_of_its_own_is_bounded_too(serve, program, option, reason, deaf):
    """Its input ends, and it may say farewell; if it does not it is killed. lighttpd's own
    timeouts, meant for requests, do not end it."""
    path = program("p", "#!/bin/sh\nprintf 'Status: 101\\n\\n'\ntrap '' TERM\n"
                        "while :; do sleep 300; done\n")
    server = serve({"/ws": {**FRAMES, **option, **({"bin-path": path} if deaf else {})}},
                   "server.max-read-idle = 1\n")
    descriptors = len(server.fds())
    started = time.monotonic()
    with RawClient(server, request()) as client:
        assert client.status == 101
        if not deaf:
            client.send(frame(b"x"))
            assert client.read_frame() == (0x81, b"x")
        client.reader.read()
        assert 1 < time.monotonic() - started < 15
    no_programs(server)
    server.wait_for(f"ended after .*{reason}")
    server.wait_until(lambda: len(server.fds()) <= descriptors, "the descriptors to be closed")


# ---- The program

def test_resource_limits_directory_and_copied_environment(serve, program, tmp_path):
    path = program("p", "#!/bin/sh\nulimit -n\nulimit -t\npwd\necho \"$LANG_X-$HOME_X\"\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    server = serve({"/plain": {"bin-path": path},
                    "/ws": {"bin-path": path, "limits": {"nofile": 64, "cpu": 7},
                            "working-directory": str(elsewhere),
                            "bin-environment": {"LANG_X": "a b"}}})

    async def lines(where):
        async with websockets.connect(server.url(where, "ws")) as client:
            return [line async for line in client]
    assert asyncio.run(lines("/ws")) == ["64", "7", str(elsewhere), "a b-"]
    assert asyncio.run(lines("/plain"))[2:] == [str(tmp_path), "-"]


def test_a_program_that_exceeds_its_cpu_limit_is_killed_and_the_client_is_told(serve, program):
    path = program("p", "#!/bin/sh\necho begin\nwhile :; do :; done\n")
    server = serve({"/ws": {"bin-path": path, "limits": {"cpu": 1}}})

    async def talk():
        client = await websockets.connect(server.url("/ws", "ws"))
        assert await client.recv() == "begin"
        await client.wait_closed()
        return client.close_code, client.close_reason
    code, reason = asyncio.run(talk())
    assert code == 1011 and reason.startswith("program was killed by signal")
