# SPDX-License-Identifier: BSD-3-Clause
"""Model daemon: started by lighttpd or found at an address; balanced; refused when none answers."""
import asyncio
import contextlib
import os
import pathlib
import signal
import socket
import threading
import time

import pytest
import websockets

ECHO_DAEMON = str(pathlib.Path(__file__).parent / "programs" / "echo_daemon.py")
SPAWNED = {"model": "daemon", "bin-path": ECHO_DAEMON, "framing": "stream",
           "message-type": "text"}


def connect(server, path="/ws", **options):
    return websockets.connect(server.url(path, "ws"), max_size=None, **options)


class Daemon:
    """A daemon of the test's own, that answers each message with its name."""

    def __init__(self, address, family=socket.AF_UNIX):
        self.address, self.connections, self.received = address, 0, b""
        self.listening = socket.socket(family)
        if family == socket.AF_INET:
            self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listening.bind(address)
        self.listening.listen(64)
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listening.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(65536):
                self.received += data
                connection.sendall(str(self.address).encode())

    def stop(self):
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.thread.join()


async def echo(server, message="hello"):
    async with connect(server) as client:
        await client.send(message)
        return await client.recv()


def test_a_daemon_is_started_and_serves_many_sessions(serve):
    server = serve({"/ws": SPAWNED})

    async def talk():
        clients = [await connect(server) for _ in range(20)]
        for number, client in enumerate(clients):
            await client.send(f"hello {number}")
        for number, client in enumerate(clients):
            assert await client.recv() == f"hello {number}"
        for client in clients:
            await client.close()
    asyncio.run(talk())
    assert len(server.children()) == 1


def test_a_daemon_that_dies_is_started_again_and_its_sessions_are_closed(serve):
    server = serve({"/ws": SPAWNED})

    async def talk():
        async with connect(server) as client:
            await client.send("x")
            await client.recv()
            (pid,) = server.children()
            os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(websockets.ConnectionClosed):
                await client.recv()
            return pid
    old = asyncio.run(talk())
    server.wait_until(lambda: server.children() not in ([], [old]), "a new daemon")
    assert asyncio.run(echo(server)) == "hello"
    server.wait_for("daemon .* ended")


def test_a_reload_starts_the_daemon_anew_and_loses_nothing(serve):
    server = serve({"/ws": SPAWNED})
    server.wait_until(server.children, "the daemon")
    for _ in range(3):  # what is lost, a build with sanitizers tells at the end
        before = server.children()
        server.reload()
        server.wait_until(lambda old=before: server.children() and server.children() != old,
                          "a new daemon")
        assert asyncio.run(echo(server)) == "hello"
        assert len(server.children()) == 1


def test_several_processes_share_one_socket(serve):
    server = serve({"/ws": {**SPAWNED, "max-procs": 3}})
    server.wait_until(lambda: server.log_text().count("daemon") >= 3, "three daemons")
    assert asyncio.run(echo(server)) == "hello"
    assert len(server.children()) == 3


def sockets_of(daemons):
    """Paths of the sockets that these processes listen on, as their standard input."""
    inodes = {os.stat(f"/proc/{pid}/fd/0").st_ino for pid in daemons}
    lines = [line.split() for line in pathlib.Path("/proc/net/unix").read_text().splitlines()[1:]]
    return {line[7] for line in lines if int(line[6]) in inodes and len(line) > 7}


def test_the_socket_and_its_directory_are_gone_with_the_server(serve, tmp_path):
    path = tmp_path / "daemon.socket"
    server = serve({"/ws": {**SPAWNED, "socket": str(path)}, "/other": SPAWNED})
    assert path.exists()
    other, = server.wait_until(lambda: len(found := sockets_of(server.children())) == 2
                               and found - {str(path)}, "two daemons")
    directory = pathlib.Path(other).parent
    assert directory.name.startswith("wscgi-") and directory.stat().st_mode & 0o777 == 0o700
    assert asyncio.run(echo(server)) == "hello"
    server.stop()
    assert not path.exists() and not directory.exists()


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET], ids=["unix", "tcp"])
def test_sessions_are_balanced_and_dead_daemons_are_skipped(serve, tmp_path, family):
    def new_daemon(number):
        if family == socket.AF_UNIX:
            return Daemon(str(tmp_path / f"d{number}"))
        return Daemon((f"127.0.0.{number + 1}", port), socket.AF_INET)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    daemons = [new_daemon(number) for number in range(3)]
    where = ({"socket": [one.address for one in daemons]} if family == socket.AF_UNIX else
             {"host": [one.address[0] for one in daemons], "port": port})
    server = serve({"/ws": {"model": "daemon", "framing": "stream", "message-type": "text",
                            "retry-interval": 1, **where}})

    async def talk(count):
        clients = [await connect(server) for _ in range(count)]
        names = []
        for client in clients:
            await client.send("x")
            names.append(await client.recv())
        for client in clients:
            await client.close()
        return names
    names = asyncio.run(talk(9))
    assert sorted(map(names.count, set(names))) == [3, 3, 3]

    daemons[1].stop()
    names = asyncio.run(talk(6))
    assert str(daemons[1].address) not in names and len(set(names)) == 2

    if family == socket.AF_UNIX:
        os.unlink(daemons[1].address)
    daemons[1] = new_daemon(1)
    deadline = time.monotonic() + 15
    while daemons[1].connections == 0:  # it is tried again before long
        assert time.monotonic() < deadline
        asyncio.run(talk(3))
    for daemon in daemons:
        daemon.stop()


def test_no_daemon_means_503_in_bounded_time(serve, tmp_path):
    server = serve({"/ws": {"model": "daemon", "socket": str(tmp_path / "nobody")}})
    started = time.monotonic()
    with pytest.raises(websockets.InvalidStatusCode) as refusal:
        asyncio.run(echo(server))
    assert refusal.value.status_code == 503
    assert time.monotonic() - started < 5
    server.wait_for("no daemon answers.*nobody.*No such file")


def test_a_daemon_gets_the_variables_first_if_it_wants_them(serve, tmp_path):
    daemon = Daemon(str(tmp_path / "d"))
    server = serve({"/ws": {"model": "daemon", "socket": daemon.address, "scgi": "enable"}})

    async def talk():
        async with connect(server, "/ws/path?query") as client:
            await client.send("message")
            server.wait_until(lambda: daemon.received.endswith(b"message\n"), "the message")
    asyncio.run(talk())
    length, _, rest = daemon.received.partition(b":")
    header, rest = rest[:int(length)], rest[int(length):]
    names_and_values = header.decode().split("\0")
    variables = dict(zip(names_and_values[::2], names_and_values[1::2]))
    assert names_and_values[:4] == ["CONTENT_LENGTH", "0", "SCGI", "1"]
    assert variables["PATH_INFO"] == "/path" and variables["QUERY_STRING"] == "query"
    assert rest == b",message\n"
    daemon.stop()


@pytest.mark.parametrize("options, word", [
    ({"model": "daemon"}, "somebody to connect to"),
    ({"model": "daemon", "socket": "/" + "x" * 108}, "too long"),
    ({"model": "daemon", "host": "127.0.0.1"}, "no port"),
    ({"model": "session", "bin-path": "/bin/cat", "socket": "/tmp/x"}, "are for daemons"),
    ({"model": "shared", "bin-path": "/bin/cat", "framing": "websocket"}, "cannot be shared"),
    ({"model": "shared", "bin-path": "/bin/cat", "headers": "enable"}, "headers"),
    ({"bin-path": "/bin/cat", "scgi": "enable"}, "is for daemons"),
    ({"model": "daemon", "host": "127.0.0.1:1", "framing": "packet"}, "unix socket"),
])
def test_contradictions_stop_the_server_at_start(make_lighttpd, options, word):
    from conftest import server_directive
    server = make_lighttpd(server_directive({"/ws": options}), modules=["mod_wscgi"])
    checked = server.check_config()
    assert checked.returncode != 0 and word in checked.stderr
