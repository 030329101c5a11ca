# SPDX-License-Identifier: BSD-3-Clause
"""What mod_status shows, and the log line of every session."""
import asyncio
import re
import urllib.request

import pytest
import websockets
from conftest import server_directive
from http2_client import Connection
from test_bad_input import UPGRADE, RawClient, request

STATUS = 'status.statistics-url = "/statistics"\n'
H2C = 'server.feature-flags += ( "server.h2proto" => "enable", "server.h2c" => "enable" )\n'


def counters(server):
    with urllib.request.urlopen(server.url("/statistics"), timeout=20) as response:
        return {name: int(value) for name, value in
                re.findall(r"^wscgi\.(\S+): (-?\d+)$", response.read().decode(), flags=re.M)}


@pytest.fixture
def serve(start_lighttpd):
    return lambda endpoints, config="": start_lighttpd(
        server_directive(endpoints) + STATUS + config, modules=["mod_wscgi", "mod_status"])


def wait_for(server, **expected):
    """Counters follow within a second or two. Names have _ for - here."""
    names = {name.replace("_", "-"): value for name, value in expected.items()}
    server.wait_until(lambda: counters(server).items() >= names.items(),
                      f"{names}; there are {counters(server)}")


def test_sessions_messages_bytes_and_programs_are_counted(serve):
    server = serve({"/ws": {"bin-path": "/bin/cat"}, "/daemon": {
        "model": "daemon", "bin-path": "/bin/sleep", "arguments": "300", "max-procs": 2}}, H2C)
    wait_for(server, spawned=2, messages_in=0, messages_out=0, kbytes_in=0, kbytes_out=0)

    async def talk():
        async with websockets.connect(server.url("/ws", "ws")) as client:
            for _ in range(100):
                await client.send("x" * 10240)
                await client.recv()
            # 8 bytes of header in, 4 out
            wait_for(server, sessions=1, spawned=3, messages_in=100, messages_out=100,
                     kbytes_in=1000, kbytes_out=1000)
            async with Connection.open(server) as connection:
                stream = await connection.websocket("/ws")
                for _ in range(50):
                    await stream.send("y" * 10240)
                    await stream.recv()
                wait_for(server, sessions=2, spawned=4, messages_in=150, messages_out=150,
                         kbytes_in=1501, kbytes_out=1500)
    asyncio.run(talk())
    wait_for(server, sessions=0, spawned=4, messages_in=150, messages_out=150)


def test_messages_to_each_listener_of_a_shared_program_are_counted(serve):
    server = serve({"/ws": {"bin-path": "/bin/cat", "model": "shared", "linger": 0}})

    async def talk():
        clients = [await websockets.connect(server.url("/ws", "ws")) for _ in range(5)]
        await clients[0].send("x")
        for client in clients:
            await client.recv()
            await client.close()
    asyncio.run(talk())
    wait_for(server, sessions=0, spawned=1, messages_in=1, messages_out=5)


def test_a_slow_client_of_a_shared_program_is_counted_once(serve, program):
    path = program("p", "#!/bin/sh\nread go\nyes 0123456789 | head -n 2000000\nexec cat\n")
    server = serve({"/ws": {"bin-path": path, "model": "shared", "window": 4096}})

    async def talk():
        client = await websockets.connect(server.url("/ws", "ws"), max_queue=1)
        client.transport.pause_reading()
        await client.send("go")
        server.wait_until(lambda: counters(server).get("slow-dropped"), "the client to be dropped")
        client.transport.resume_reading()
        with pytest.raises(websockets.ConnectionClosed):
            while True:
                await client.recv()
        assert client.close_code == 1013
    asyncio.run(talk())
    assert counters(server)["slow-dropped"] == 1


def test_refusals_are_counted_by_their_reason(serve, program, tmp_path):
    gone = program("gone", "#!/bin/sh\n")
    refuses = program("refuses", "#!/bin/sh\nprintf 'Status: 403\\n\\n'\n")
    headers = {"headers": "enable", "grace": 1}
    server = serve({
        "/ws": {"bin-path": "/bin/cat"}, "/gone": {"bin-path": gone},
        "/one": {"bin-path": "/bin/cat", "max-sessions": 1},
        "/two": {"bin-path": "/bin/cat", "max-per-address": 1},
        "/refuses": {"bin-path": refuses, **headers}, "/mute": {"bin-path": "/bin/true", **headers},
        "/late": {"bin-path": "/bin/sleep", "arguments": "300", "handshake-timeout": 1, **headers},
        "/nobody": {"model": "daemon", "socket": str(tmp_path / "nobody")}})
    (tmp_path / "gone").unlink()
    held = [RawClient(server, request("/one")), RawClient(server, request("/two"))]
    for path, lines, status in [
            ("/ws", [*UPGRADE, "Origin: http://evil"], 403),
            ("/ws", [line.replace("13", "12") for line in UPGRADE], 426),
            ("/ws", UPGRADE[:3] + UPGRADE[4:], 400),
            ("/gone", UPGRADE, 500), ("/one", UPGRADE, 503), ("/two", UPGRADE, 429),
            ("/refuses", UPGRADE, 403), ("/mute", UPGRADE, 502), ("/late", UPGRADE, 504),
            ("/nobody", UPGRADE, 503)]:
        with RawClient(server, request(path, lines)) as client:
            assert client.status == status, path
    for client in held:
        client.close()
    refused = {name: value for name, value in counters(server).items() if "refused" in name}
    assert refused == {"refused." + name: count for name, count in {
        "origin": 1, "handshake": 2, "no-program": 1, "max-sessions": 1, "max-per-address": 1,
        "by-program": 1, "program-header": 1, "handshake-timeout": 1, "no-daemon": 1}.items()}


def test_the_log_line_of_a_session_tells_all(serve):
    server = serve({"/ws": {"bin-path": "/bin/cat"}})

    async def talk():
        async with websockets.connect(server.url("/ws/x?y", "ws")) as client:
            await client.send("hello")
            await client.recv()
            await client.close(4321)
    asyncio.run(talk())
    # The frames: 6 + 5 bytes and a Close of 6 + 2; without masks, and the Close is answered.
    server.wait_for(r"wscgi [0-9a-f]{32}: 127\.0\.0\.1 /ws/x\?y /bin/cat ended after \d+ s, "
                    r"1 messages and 19 bytes in, 1 messages and 11 bytes out: closed by the "
                    r"client with 4321$")
