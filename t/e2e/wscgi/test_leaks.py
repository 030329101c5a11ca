# SPDX-License-Identifier: BSD-3-Clause
"""Thousands of sessions, ended at every stage by either side: nothing of them may stay."""
import asyncio
import contextlib
import os
import signal
import socket
import struct

import pytest
import websockets
from http2_client import Connection
from test_bad_input import RawClient, frame, request
from test_http2 import H2C

SESSIONS = 10000
WARM_UP = 2000
HEAD = request("/cat")
CLOSE = frame(b"\x03\xe8", opcode=8)
ENDPOINTS = {
    "/cat": {"bin-path": "/bin/cat", "grace": 1},
    "/true": {"bin-path": "/bin/true"},
    "/frames": {"bin-path": "/bin/cat", "framing": "websocket", "handshake-timeout": 1, "grace": 1},
}


class Baseline:
    """What a server has of everything, to be compared with later."""

    def __init__(self, server):
        self.server = server
        self.descriptors, self.watched, self.memory = self.now()

    def now(self):
        return len(self.server.fds()), watched(self.server.pid), self.server.rss()

    def check(self):
        server = self.server
        server.wait_until(lambda: not server.children(), "the programs to end", timeout=30)
        server.wait_until(lambda: len(server.fds()) <= self.descriptors,
                          "the descriptors to be closed", timeout=30)
        assert watched(server.pid) <= self.watched
        assert server.rss() <= self.memory * 1.05


def watched(pid):
    """Descriptors in the process' epoll sets."""
    count = 0
    for number in os.listdir(f"/proc/{pid}/fdinfo"):
        with contextlib.suppress(FileNotFoundError), \
                open(f"/proc/{pid}/fdinfo/{number}", encoding="ascii") as info:
            count += info.read().count("tfd:")
    return count


def reset(client):
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def during_the_request(server):
    with RawClient(server) as client:
        client.send(HEAD[:60])


def right_after_the_request(server):
    client = RawClient(server)
    client.send(HEAD)
    reset(client)


def after_the_handshake(server):
    reset(RawClient(server, HEAD))


def within_a_frame(server):
    with RawClient(server, HEAD) as client:
        client.send(frame(b"x" * 1000)[:500])


def with_a_message_on_its_way(server):
    client = RawClient(server, HEAD)
    client.send(frame(b"x" * 50000))
    reset(client)


def after_an_echo(server):
    with RawClient(server, HEAD) as client:
        client.send(frame(b"x" * 100))
        assert client.read_frame()


def with_a_close(server):
    with RawClient(server, HEAD) as client:
        client.send(frame(b"x") + CLOSE)
        assert client.read_frame() == (0x81, b"x")
        assert client.read_close() == 1000


def with_half_a_close(server):
    with RawClient(server, HEAD) as client:
        client.send(CLOSE[:5])
        client.socket.shutdown(socket.SHUT_WR)
        client.reader.read()


def by_the_program(server):
    with RawClient(server, request("/true")) as client:
        assert client.read_close() == 1000
        client.send(CLOSE)


def by_the_program_and_the_client_at_once(server):
    client = RawClient(server)
    client.send(request("/true") + CLOSE)
    reset(client)


def by_the_kill_of_the_program(server):
    with RawClient(server, HEAD) as client:
        for pid in server.children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert client.read_close() in (1011, 1000)  # 1000: only programs of others were there yet


def before_the_program_has_answered(server):
    client = RawClient(server)
    client.send(request("/frames"))
    reset(client)


def after_a_broken_rule(server):
    with RawClient(server, HEAD) as client:
        client.send(b"\xff\xff\xff\xff")
        assert client.read_close() == 1002


STAGES = [during_the_request, right_after_the_request, after_the_handshake, within_a_frame,
          with_a_message_on_its_way, after_an_echo, with_a_close, with_half_a_close,
          by_the_program, by_the_program_and_the_client_at_once, by_the_kill_of_the_program,
          before_the_program_has_answered, after_a_broken_rule]


def run_sessions(server, count):
    for number in range(count):
        STAGES[number % len(STAGES)](server)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("workers", [0, 2])
def test_sessions_over_http_1(serve, workers):
    server = serve(ENDPOINTS, f"server.max-worker = {workers}\n" * bool(workers))
    if workers:
        masters = server.wait_until(lambda: len(server.children()) >= workers and server.children(),
                                    "the workers")
        run_sessions_of_workers(server, masters)
        return
    run_sessions(server, WARM_UP)
    server.wait_until(lambda: not server.children(), "the programs to end")
    baseline = Baseline(server)
    run_sessions(server, SESSIONS)
    baseline.check()


def run_sessions_of_workers(server, workers):
    """The stages look for programs below the server, and with workers that is one level deeper."""
    stages = [stage for stage in STAGES if stage is not by_the_kill_of_the_program]
    for number in range(SESSIONS // 10):
        stages[number % len(stages)](server)
    server.wait_until(lambda: set(server.children()) == set(workers), "the programs to end",
                      timeout=30)


# ---- The same on streams of HTTP/2

async def cancelled_at_once(connection):
    await (await connection.request("/cat")).cancel()


async def cancelled_before_the_program_has_answered(connection):
    stream = await connection.request("/frames")
    await asyncio.sleep(0)
    await stream.cancel()


async def cancelled_with_a_message_on_its_way(connection):
    stream = await connection.websocket("/cat")
    await stream.send("x" * 20000)
    await stream.cancel()


async def cancelled_while_the_program_ends(connection):
    await (await connection.websocket("/true")).cancel()


async def ended_with_a_close(connection):
    stream = await connection.websocket("/cat")
    await stream.send("x")
    assert await stream.recv() == "x"
    await stream.send_close()
    assert await stream.wait_closed() == 1000


async def ended_within_a_frame(connection):
    stream = await connection.websocket("/cat")
    await stream.send_bytes(b"\x81", end_stream=True)
    await stream.wait_closed()


async def ended_within_a_close(connection):
    stream = await connection.websocket("/cat")
    await stream.send_bytes(CLOSE[:5], end_stream=True)
    await stream.wait_closed()


async def ended_by_the_program(connection):
    stream = await connection.websocket("/true")
    await connection.until(lambda: stream.close or stream.at_end())
    assert stream.close[0] == 1000
    await stream.send_close()
    await stream.wait_closed()


async def ended_by_the_kill_of_the_program(connection):
    stream = await connection.websocket("/pid")
    os.kill(int(await stream.recv()), signal.SIGKILL)
    await connection.until(lambda: stream.close or stream.at_end())
    assert stream.close[0] == 1011
    await stream.cancel()


async def ended_after_a_broken_rule(connection):
    stream = await connection.websocket("/cat")
    await stream.send_bytes(b"\xff\xff\xff\xff")
    await connection.until(lambda: stream.close or stream.at_end())
    assert stream.close[0] == 1002


async def refused(connection):
    assert await (await connection.request("/cat", origin="http://elsewhere")).response() == 403


STREAM_STAGES = [
    cancelled_at_once, cancelled_before_the_program_has_answered,
    cancelled_with_a_message_on_its_way, cancelled_while_the_program_ends, ended_with_a_close,
    ended_within_a_frame, ended_within_a_close, ended_by_the_program,
    ended_by_the_kill_of_the_program, ended_after_a_broken_rule, refused]


async def run_streams(server, count):
    """On connections that end in turn by GOAWAY and abruptly, with streams open."""
    for number in range(0, count, 2 * len(STREAM_STAGES) + 2):
        async with Connection.open(server) as connection:
            for stage in 2 * STREAM_STAGES:
                await stage(connection)
            await connection.websocket("/cat")
            await connection.request("/cat")
            if number % 4:
                connection.h2.close_connection()
                await connection.flush()


@pytest.mark.timeout(300)
def test_sessions_over_http_2(serve, program):
    server = serve({**ENDPOINTS, "/pid": {
        "bin-path": program("pid", "#!/bin/sh\necho $$\nexec cat\n"), "grace": 1}}, H2C)
    asyncio.run(run_streams(server, WARM_UP // 2))
    server.wait_until(lambda: not server.children(), "the programs to end")
    baseline = Baseline(server)
    asyncio.run(run_streams(server, SESSIONS))
    baseline.check()


# ---- The server's own ends

def open_sessions(server, count):
    clients = [RawClient(server, HEAD) for _ in range(count)]
    for client in clients:
        client.send(frame(b"x"))
        assert client.read_frame() == (0x81, b"x")
    return clients


@pytest.mark.parametrize("round_, config", [
    (0, ""), (1, ""),
    (0, 'server.feature-flags += ( "server.graceful-shutdown-timeout" => 0 )\n')])
def test_a_reload_closes_the_sessions_and_leaves_nothing(serve, round_, config):
    server = serve({"/cat": {"bin-path": "/bin/cat", "grace": 1}}, config)
    server.reload()
    descriptors = len(server.fds())
    for _ in range(2 + round_):
        clients = open_sessions(server, 5)
        before = server.log_text().count("server started")
        server.send_signal(signal.SIGUSR1)
        for client in clients:
            assert client.read_close() == 1001
            client.send(frame(b"\x03\xe9", opcode=8))
            client.reader.read()
            client.close()
        server.wait_until(lambda b=before: server.log_text().count("server started") > b,
                          "server started again")
        assert not server.children()
        open_sessions(server, 1)[0].close()
        server.wait_until(lambda: not server.children(), "the program to end")
    server.wait_until(lambda: len(server.fds()) <= descriptors, "the descriptors to be closed")


def test_clients_that_do_not_answer_do_not_hold_up_a_reload(serve):
    server = serve({"/cat": {"bin-path": "/bin/cat", "grace": 1, "close-timeout": 1},
                    "/yes": {"bin-path": "/usr/bin/yes", "grace": 1, "close-timeout": 1}})
    clients = [RawClient(server, HEAD), RawClient(server, request("/yes"), buffer=4096)]
    server.reload()
    assert not server.children()
    for client in clients:
        client.close()


def test_logs_are_reopened_with_sessions_open(serve):
    server = serve({"/cat": {"bin-path": "/bin/cat"}})
    clients = open_sessions(server, 3)
    server.error_log.rename(server.error_log.with_suffix(".old"))
    server.send_signal(signal.SIGHUP)
    server.wait_until(server.error_log.exists, "the new log")
    for client in clients:
        client.send(frame(b"y") + CLOSE)
        assert client.read_frame() == (0x81, b"y")
        assert client.read_close() == 1000
        client.close()
    server.wait_for("ended after")


def test_a_graceful_stop_ends_the_sessions_on_http_2(serve):
    server = serve({"/cat": {"bin-path": "/bin/cat", "grace": 1}}, H2C)

    async def talk():
        async with Connection.open(server) as connection:
            streams = [await connection.websocket("/cat") for _ in range(3)]
            loop = asyncio.get_running_loop()
            stopping = loop.run_in_executor(None, server.stop, signal.SIGINT)
            for stream in streams:
                await connection.until(lambda s=stream: s.close or s.at_end())
                assert stream.close and stream.close[0] == 1001
                with contextlib.suppress(Exception):
                    await stream.send_close(1001)
            await stopping
    asyncio.run(asyncio.wait_for(talk(), 60))


def test_workers_end_their_sessions(serve):
    server = serve({"/cat": {"bin-path": "/bin/cat", "grace": 1}}, "server.max-worker = 2\n")

    async def talk():
        clients = [await websockets.connect(server.url("/cat", "ws")) for _ in range(6)]
        loop = asyncio.get_running_loop()
        stopping = loop.run_in_executor(None, server.stop, signal.SIGINT)
        for client in clients:
            await client.wait_closed()
            assert client.close_code == 1001
        await stopping
    asyncio.run(asyncio.wait_for(talk(), 60))
