# SPDX-License-Identifier: BSD-3-Clause
"""256 sessions at once whose one side does not read: the other side stops, memory stays within the
configured windows, and everybody else is served."""
import asyncio
import contextlib
import pathlib
import select
import socket
import threading
import time

import pytest
from http2_client import Connection
from test_bad_input import RawClient, assert_serves, frame, no_programs, request
from test_http2 import H2C, echo, run

SESSIONS = 256
STREAMS = 8                # of one HTTP/2 connection: lighttpd allows no more
WINDOW = 65536             # option `window`
RECEIVED = 65536           # what lighttpd may take off a socket, or a program, in one go
BUFFERED = 3 * 65536       # what lighttpd's HTTP/2 takes of one stream before it closes the window
FIXED = 8 << 10            # a session's own: request, connection, process
SMALL = 4 << 20
QUIET = {"ping-interval": 0, "grace": 1, "close-timeout": 1, "window": WINDOW}
DAEMON = str(pathlib.Path(__file__).parent / "programs" / "talking_daemon.py")
CONFIG = "server.max-fds = 4096\nserver.max-connections = 1024\n" + H2C


@pytest.fixture
def server(serve, program, tmp_path):
    """/talker writes without end, /deaf never reads, /ws echoes."""
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    made = serve({"/talker": {**QUIET, "bin-path": "/usr/bin/yes", "arguments": ["x" * 4000]},
                  "/deaf": {**QUIET, "ping-interval": 1,  # finds out who has gone, though nothing is read
                            "bin-path": program("p", "#!/bin/sh\nexec sleep 300\n")},
                  "/ws": {"bin-path": "/bin/cat"}},
                 CONFIG + f'server.upload-dirs = ( "{uploads}" )\n')
    assert_serves(made)
    made.uploads = uploads
    return made


@pytest.fixture
def daemon_server(serve, tmp_path):
    """/daemon's one program writes without end to each client, /ws echoes."""
    made = serve({"/daemon": {**QUIET, "model": "daemon", "framing": "stream", "bin-path": DAEMON},
                  "/ws": {"bin-path": "/bin/cat"}}, CONFIG)
    made.wait_until(made.children, "the daemon")
    made.uploads = tmp_path
    return made


class Memory:
    """The server's, since now; and what it has put into temporary files."""

    def __init__(self, server):
        self.server, self.before, self.most = server, server.rss(), 0

    def check(self):
        self.most = max(self.most, self.server.rss() - self.before)
        assert self.most <= SESSIONS * (WINDOW + RECEIVED + FIXED) + SMALL
        on_disk = sum(path.stat().st_size for path in self.server.uploads.iterdir())
        assert on_disk <= SESSIONS * BUFFERED + SMALL, f"{on_disk} bytes in temporary files"


def written(pids):
    """Bytes the programs have written so far."""
    return sum(int(pathlib.Path(f"/proc/{pid}/io").read_text().split("wchar: ")[1].split()[0])
               for pid in pids)


def assert_serves_promptly(server):
    started = time.monotonic()
    assert_serves(server)
    assert time.monotonic() - started < 1


def until_still(measure, look):
    """Calls look() until measure() has been the same for 20 looks and half a second; it must become
    so. What was measured."""
    deadline = time.monotonic() + 40
    value, since, looks = measure(), time.monotonic(), 0
    while looks < 20 or time.monotonic() - since < 0.5:
        assert time.monotonic() < deadline, f"still moving, at {value}"
        look()
        if (now := measure()) != value:
            value, since, looks = now, time.monotonic(), 0
        looks += 1
    return value


def open_and_do_not_read(stack, server, path, memory):
    for _ in range(SESSIONS):
        client = stack.enter_context(RawClient(server, request(path), buffer=4096))
        assert client.status == 101
        memory.check()


def assert_stops(server, pids, memory):
    def look():
        assert_serves_promptly(server)
        memory.check()
    until_still(lambda: written(pids), look)
    assert memory.most > SESSIONS * WINDOW / 2 or server.rss() == 0  # the windows were in use


def test_clients_that_do_not_read_stop_their_programs(server):
    memory = Memory(server)
    with contextlib.ExitStack() as stack:
        open_and_do_not_read(stack, server, "/talker", memory)
        pids = server.children()
        assert len(pids) == SESSIONS
        assert_stops(server, pids, memory)
    no_programs(server)


def test_clients_that_do_not_read_stop_their_daemon(daemon_server):
    """It can say more at once than a pipe holds, and is read in larger pieces."""
    assert_serves(daemon_server)
    daemon, memory = daemon_server.children(), Memory(daemon_server)
    assert len(daemon) == 1
    with contextlib.ExitStack() as stack:
        open_and_do_not_read(stack, daemon_server, "/daemon", memory)
        assert_stops(daemon_server, daemon, memory)


def test_programs_that_do_not_read_stop_their_clients(server):
    memory, data, sent = Memory(server), frame(b"x" * 65000), 0
    with contextlib.ExitStack() as stack:
        clients = {}
        poll = stack.enter_context(contextlib.closing(select.epoll()))
        for _ in range(SESSIONS):
            client = stack.enter_context(RawClient(server, request("/deaf")))
            assert client.status == 101
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            client.socket.setblocking(False)
            poll.register(client.socket, select.EPOLLOUT)
            clients[client.socket.fileno()] = [client.socket, 0]

        def flood():
            nonlocal sent
            for number, _ in poll.poll(0.02):
                client = clients[number]
                with contextlib.suppress(BlockingIOError):
                    count = client[0].send(data[client[1]:])
                    client[1] = (client[1] + count) % len(data)
                    sent += count
            memory.check()
        until_still(lambda: sent, flood)
        assert sent > SESSIONS * 65536
        for _ in range(20):
            assert_serves_promptly(server)
        assert not poll.poll(0)
        memory.check()
    no_programs(server)


@contextlib.asynccontextmanager
async def streams(server, path):
    async with contextlib.AsyncExitStack() as stack:
        opened = []
        for _ in range(SESSIONS // STREAMS):
            connection = await stack.enter_async_context(Connection.open(server))
            opened += [await connection.request(path) for _ in range(STREAMS)]
        for stream in opened:
            stream.acknowledge = False
            assert await stream.response() == 200
        yield opened


async def until_still_while_another_echoes(server, measure, memory):
    """On a connection of its own, that waits for nobody."""
    async with Connection.open(server) as connection:
        other = await connection.websocket("/ws")
        value, since, looks = measure(), time.monotonic(), 0
        deadline = since + 60
        while looks < 20 or time.monotonic() - since < 0.5:
            assert time.monotonic() < deadline, f"still moving, at {value}"
            started = time.monotonic()
            await echo(other, "hello")
            memory.check()
            if (now := measure()) != value:
                value, since, looks = now, time.monotonic(), 0
            else:  # this process is no longer busy with the flood: promptness is the server's
                assert time.monotonic() - started < 1
            looks += 1


def test_clients_that_do_not_read_on_http_2_stop_their_programs(server):
    memory = Memory(server)

    async def talk():
        async with streams(server, "/talker"):
            pids = server.children()
            assert len(pids) == SESSIONS
            await until_still_while_another_echoes(server, lambda: written(pids), memory)
    run(talk())
    no_programs(server)


def test_programs_that_do_not_read_on_http_2_stop_their_clients(server):
    memory, sent = Memory(server), 0

    async def flood(stream):
        nonlocal sent
        while True:
            await stream.send("x" * 65000)
            sent += 65000

    async def talk():
        async with streams(server, "/deaf") as opened:
            floods = [asyncio.create_task(flood(stream)) for stream in opened]
            try:
                await until_still_while_another_echoes(server, lambda: sent, memory)
                assert not any(task.done() for task in floods)
            finally:
                for task in floods:
                    task.cancel()
                await asyncio.gather(*floods, return_exceptions=True)
    run(talk())
    no_programs(server)


@pytest.mark.parametrize("goodbye", [frame(b"", opcode=8), b""], ids=["Close", "FIN only"])
def test_all_that_was_said_before_the_end_of_the_connection_is_answered(server, goodbye):
    """More than one go of any reader, and than the pipes hold: the end is seen long before."""
    message = b"x" * 60000
    with RawClient(server, request("/ws")) as client:
        def talk():
            client.socket.sendall(frame(message) * 100 + goodbye)
            client.socket.shutdown(socket.SHUT_WR)
        talker = threading.Thread(target=talk)
        talker.start()
        for _ in range(100):
            answer, last = b"", False
            while not last:
                first_byte, piece = client.read_frame()
                answer, last = answer + piece, first_byte & 0x80
            assert answer == message
        talker.join()
        if goodbye:
            assert client.read_frame() == (0x88, b"")
