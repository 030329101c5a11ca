# SPDX-License-Identifier: BSD-3-Clause
"""The server is reloaded, or stopped, or a client leaves, while sessions are at every stage: program
started and its header awaited, daemon not connected yet, open, closing, program deaf."""
import asyncio
import contextlib
import signal
import socket
import threading
import time

import pytest
from http2_client import Connection
from test_bad_input import RawClient, frame, request
from test_framings import DAEMON
from test_http2 import H2C, Closed

TIMES = {"grace": 1, "close-timeout": 1}
CLOSE = frame(b"\x03\xe8", opcode=8)


@pytest.fixture
def deaf_daemon(tmp_path):
    """The path of a unix socket, and a TCP port, whose daemon never accepts: connecting takes for
    ever."""
    sockets = []
    path = str(tmp_path / "deaf.sock")
    for family, address in ((socket.AF_UNIX, path), (socket.AF_INET, ("127.0.0.1", 0))):
        listening = socket.socket(family)
        listening.bind(address)
        listening.listen(0)
        sockets.append(listening)
        for _ in range(3):  # its queue is full
            filler = socket.socket(family)
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listening.getsockname())
            sockets.append(filler)
    yield path, sockets[4].getsockname()[1]
    for one in sockets:
        one.close()


@pytest.fixture
def server(serve, program, deaf_daemon):
    path, port = deaf_daemon
    made = serve({
        "/open": {"bin-path": "/bin/cat", **TIMES},
        "/mute": {"bin-path": "/bin/sleep", "arguments": "300", "headers": "enable",
                  "handshake-timeout": 3, **TIMES},
        "/frames": {"bin-path": "/bin/sleep", "arguments": "300", "framing": "websocket",
                    "handshake-timeout": 3, **TIMES},
        "/deaf": {"bin-path": program("p", "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n"),
                  **TIMES},
        "/shared": {"bin-path": "/bin/cat", "model": "shared", "linger": 0, **TIMES},
        "/unheard": {"bin-path": "/bin/sleep", "arguments": "300", "model": "shared", "linger": 0,
                     "window": 4096, **TIMES},
        "/daemon": {**DAEMON, "framing": "lines", "arguments": ["lines"], **TIMES},
        "/unix": {"model": "daemon", "socket": path, "connect-timeout": 3, **TIMES},
        "/tcp": {"model": "daemon", "host": f"127.0.0.1:{port}", "connect-timeout": 3, **TIMES},
        "/full": {"bin-path": "/usr/bin/yes", **TIMES},
    }, H2C)
    made.wait_until(lambda: len(made.children()) == 1, "the daemon")
    return made


PATHS = ["/open", "/mute", "/frames", "/deaf", "/shared", "/unheard", "/daemon", "/unix", "/tcp",
         "/full"]


def clients_at_every_stage(server):
    clients = []
    for path in PATHS:
        for what in (b"", frame(b"x" * 1000), frame(b"x" * 200000), frame(b"x" * 100)[:50],
                     frame(b"last") + CLOSE):
            client = RawClient(server)
            client.socket.settimeout(0.2)
            clients.append(client)
            with contextlib.suppress(TimeoutError):
                client.send(request(path) + what)
    return clients


def leave_them(clients, how):
    for client in clients:
        with contextlib.suppress(OSError):
            if how == "reset":
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                         b"\1\0\0\0\0\0\0\0")
            if how == "finish":
                client.socket.shutdown(socket.SHUT_WR)
            else:
                client.close()


def until_quiet(server, descriptors):
    server.wait_until(lambda: len(server.children()) == 1, "all but the daemon to end", timeout=60)
    server.wait_until(lambda: len(server.fds()) <= descriptors, "the descriptors to be closed",
                      timeout=60)


@pytest.mark.parametrize("how", ["close", "reset", "finish"])
def test_clients_leave(server, how):
    descriptors = len(server.fds())
    clients = clients_at_every_stage(server)
    server.wait_until(lambda: len(server.children()) > 20, "the programs")
    leave_them(clients, how)
    if how == "finish":
        time.sleep(3)  # what was said is answered, and some wait for those who never answer
        leave_them(clients, "close")
    until_quiet(server, descriptors)


def test_the_server_is_reloaded(server):
    descriptors = len(server.fds())
    clients = clients_at_every_stage(server)
    server.wait_until(lambda: len(server.children()) > 20, "the programs")
    threads = [threading.Thread(target=read_all, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    server.reload()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    leave_them(clients, "close")
    with RawClient(server, request("/open")) as client:
        client.send(frame(b"again"))
        assert client.read_frame() == (0x81, b"again")
    until_quiet(server, descriptors)


def read_all(client):
    client.socket.settimeout(25)
    with contextlib.suppress(OSError, ValueError):
        while client.socket.recv(65536):
            pass


@pytest.mark.parametrize("flag", ['"enable"', "1"])
@pytest.mark.parametrize("endpoint, starts", [
    ({"bin-path": "/bin/cat"}, True), ({"bin-path": "/bin/cat", "model": "shared"}, True),
    (DAEMON, True), ({"model": "daemon", "host": "127.0.0.1:1"}, False)])
def test_programs_stay_with_their_connections(serve, endpoint, starts, flag):
    """server.graceful-restart-bg, which leaves the connections to a fork of lighttpd, is off."""
    server = serve({"/ws": {**endpoint, **TIMES}},
                   f'server.feature-flags = ( "server.graceful-restart-bg" => {flag} )\n')
    said = "graceful-restart-bg disabled (incompatible with the programs of mod_wscgi)"
    assert (said in server.log_text()) == starts
    if starts:
        with RawClient(server, request("/ws")) as client:
            assert client.status == 101
            server.reload()
            assert client.read_close() == 1001
        assert "in progress" not in server.log_text()
    else:
        server.reload()
        server.wait_for("continuing to handle .* in progress")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_server_is_stopped(server, number):
    clients = clients_at_every_stage(server)
    server.wait_until(lambda: len(server.children()) > 20, "the programs")
    server.stop(number)
    leave_them(clients, "close")


def test_reloads_with_daemons_and_shared_programs_leave_no_descriptor(serve):
    server = serve({"/daemon": {**DAEMON, "framing": "length", "max-procs": 2, **TIMES},
                    "/shared": {"bin-path": "/bin/cat", "model": "shared", **TIMES}})

    def serves():
        for path, sent, seen in (("/daemon", frame(b"x"), b"x"), ("/shared", frame(b"y"), b"y")):
            with RawClient(server, request(path)) as client:
                client.send(sent)
                assert client.read_frame() == (0x81, seen)
    serves()  # the shared program goes on for its linger
    server.wait_until(lambda: len(server.children()) == 3, "daemons and program")
    server.wait_for_no_client()
    descriptors = sorted(what.partition(":")[0] for what in server.fds().values())
    for _ in range(3):
        server.reload()
        serves()
        server.wait_until(lambda: len(server.children()) == 3, "daemons and program")
    server.wait_until(lambda: sorted(what.partition(":")[0] for what in server.fds().values())
                      == descriptors, "the same descriptors")


async def open_streams(connection, paths):
    streams = []
    for path in paths:
        stream = await connection.request(path)
        streams.append(stream)
        if path not in ("/mute", "/frames", "/unix", "/tcp"):
            await stream.response()
    for number, stream in enumerate(streams):
        what = (b"", frame(b"x" * 1000), frame(b"x" * 100)[:50], frame(b"y") + CLOSE)[number % 4]
        with contextlib.suppress(Closed):
            if what and not stream.at_end() and stream.headers:
                await stream.send_bytes(what)
    return streams


@pytest.mark.parametrize("how", ["reset", "connection", "reload", "stop"])
@pytest.mark.parametrize("paths", [PATHS[:7], PATHS[3:]], ids=["first", "last"])
def test_streams_of_http_2(server, how, paths):
    descriptors = len(server.fds())

    async def talk():
        loop = asyncio.get_running_loop()
        async with Connection.open(server) as connection:
            for _ in range(2 if how == "reset" else 1):  # lighttpd bears no more resets at once
                for stream in await open_streams(connection, paths):
                    if how == "reset" and not stream.at_end():
                        await stream.cancel()
            if how == "reload":
                await loop.run_in_executor(None, server.reload)
            elif how == "stop":
                await loop.run_in_executor(None, server.stop)
    asyncio.run(asyncio.wait_for(talk(), 60))
    if how != "stop":
        until_quiet(server, descriptors)
