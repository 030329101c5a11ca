# SPDX-License-Identifier: BSD-3-Clause
"""WebSockets on streams of HTTP/2 (RFC 8441), over TLS and with prior knowledge."""
import asyncio
import contextlib
import random

import h2.errors
import pytest
import websockets
from conftest import SAMPLES, server_directive
from http2_client import CONNECT_PROTOCOL, Closed, Connection

ECHO_LINES = {"bin-path": "/bin/cat"}
ECHO_FRAMES = {"bin-path": str(SAMPLES / "ws_echo.py"), "framing": "websocket"}
BOTH = pytest.mark.parametrize("endpoint", [ECHO_LINES, ECHO_FRAMES], ids=["lines", "websocket"])
# Newer versions speak HTTP/2 without TLS only if asked to.
H2C = 'server.feature-flags += ( "server.h2proto" => "enable", "server.h2c" => "enable" )\n'


@pytest.fixture
def serve_http2(serve):
    return lambda endpoints, config="": serve(endpoints, H2C + config)


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 100))


async def echo(stream, message):
    await stream.send(message)
    answer = await stream.recv()
    assert len(answer) == len(message) and answer == message


def test_the_extended_connect_is_offered_and_answered_with_200(serve_http2):
    server = serve_http2({"/ws": ECHO_LINES})

    async def talk():
        async with Connection.open(server) as connection:
            assert connection.settings[CONNECT_PROTOCOL] == 1
            stream = await connection.websocket("/ws")
            assert "upgrade" not in stream.headers and "connection" not in stream.headers
            assert "sec-websocket-accept" not in stream.headers
            await echo(stream, "hello")
    run(talk())


@BOTH
def test_messages_of_all_kinds_of_sizes_over_tls(serve, tls, endpoint):
    server = serve({"/ws": endpoint}, tls.config)
    generator = random.Random(2)
    borders = [n + d for n in (126, 2048, 4096, 16384, 32768, 65536) for d in (-9, -4, -1, 0, 1)]
    sizes = [*range(130), *borders, *(generator.randrange(70000) for _ in range(300)), 70000]

    async def talk():
        async with Connection.open(tls, tls.context("h2")) as connection:
            stream = await connection.websocket("/ws", _scheme="https")
            for size in sizes:
                await echo(stream, ("äb€c" * (size // 4 + 1))[:size])
            await stream.send_close()
            assert await stream.wait_closed() == 1000
    run(talk())


@pytest.mark.parametrize("size", [1 << 20, 16 << 20])
def test_large_messages(serve_http2, size):
    server = serve_http2({"/ws": ECHO_LINES})

    async def talk():
        async with Connection.open(server, window=1 << 20) as connection:
            await echo(await connection.websocket("/ws"), "0123456789abcde " * (size // 16))
    run(talk())


@BOTH
def test_many_messages_in_flight(serve_http2, endpoint):
    server = serve_http2({"/ws": endpoint})
    messages = [f"{n} " + "x" * (n * 7919 % 70000) for n in range(200)]

    async def talk():
        async with Connection.open(server) as connection:
            stream = await connection.websocket("/ws")

            async def send():
                for message in messages:
                    await stream.send(message)
            sender = asyncio.create_task(send())
            for message in messages:
                assert await stream.recv() == message
            await sender
    run(talk())


def test_streams_of_one_connection_do_not_disturb_each_other(serve_http2):
    server = serve_http2({"/ws": ECHO_LINES})

    async def talk():
        async with Connection.open(server) as connection:
            streams = [await connection.websocket("/ws") for _ in range(8)]
            server.wait_until(lambda: len(server.children()) == 8, "a program for each stream")

            async def chat(number, stream):
                for n in range(50):
                    await echo(stream, f"{number} {n} " + "x" * (n * 1009 % 20000))
            await asyncio.gather(*(chat(*one) for one in enumerate(streams)))
            await streams[0].cancel()
            await streams[1].send_close(4000)
            assert await streams[1].wait_closed() == 4000
            server.wait_until(lambda: len(server.children()) == 6, "two programs to end")
            await asyncio.gather(*(chat(*one) for one in list(enumerate(streams))[2:]))
    run(talk())
    server.wait_until(lambda: not server.children(), "the programs to end")


@BOTH
def test_a_message_followed_at_once_by_close_is_answered(serve_http2, endpoint):
    server = serve_http2({"/ws": endpoint})

    async def talk():
        async with Connection.open(server) as connection:
            for n in range(50):
                stream = await connection.websocket("/ws")
                await stream.send(f"last words {n}")
                await stream.send_close()
                assert await stream.recv() == f"last words {n}"
                assert await stream.wait_closed() == 1000
    run(talk())


def test_a_message_in_the_same_segment_as_the_request(serve_http2):
    """The client does not wait for the 200; nothing may be lost."""
    server = serve_http2({"/ws": ECHO_LINES})

    async def talk():
        async with Connection.open(server) as connection:
            for _ in range(20):
                stream = await connection.request("/ws")
                await stream.send("early")
                assert await stream.response() == 200
                assert await stream.recv() == "early"
                await stream.send_close()
                await stream.wait_closed()
    run(talk())


def test_a_client_that_does_not_open_its_window_stops_its_program_only(serve_http2):
    server = serve_http2({"/yes": {"bin-path": "/usr/bin/yes"}, "/ws": ECHO_LINES})

    async def talk():
        async with Connection.open(server) as connection:
            greedy = await connection.request("/yes")
            greedy.acknowledge = False
            assert await greedy.response() == 200
            await connection.until(lambda: greedy.unacknowledged > 32768)
            connection.h2.increment_flow_control_window(1 << 20)
            other = await connection.websocket("/ws")
            pid = server.wait_until(server.children, "the programs")[0]
            server.wait_until(lambda: "pipe" in open(f"/proc/{pid}/wchan").read()
                              or stopped(pid), "the program to be stopped by its pipe")
            before = server.rss()
            for n in range(200):
                await echo(other, f"{n} " + "x" * 1000)
            assert server.rss() - before < 4 << 20
            connection.h2.increment_flow_control_window(65536, greedy.number)
            await connection.flush()
            await connection.until(lambda: greedy.unacknowledged > 65536)
    run(talk())


def stopped(pid):
    return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] == "S"


def test_a_program_that_does_not_read_stops_its_client_only(serve_http2, program, tmp_path):
    sleeper = program("p", "#!/bin/sh\nexec sleep 300\n")
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    server = serve_http2({"/stuck": {"bin-path": sleeper}, "/ws": ECHO_LINES},
                         f'server.upload-dirs = ( "{uploads}" )\n')

    async def talk():
        async with Connection.open(server) as connection:
            stuck = await connection.websocket("/stuck")
            before, sent = server.rss(), 0

            async def flood():
                nonlocal sent
                while sent < 64 << 20:
                    await stuck.send("x" * 65500)
                    sent += 65500
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(flood(), 4)
            assert sent < 8 << 20
            assert server.rss() - before < 8 << 20
            on_disk = sum(path.stat().st_size for path in uploads.iterdir())
            assert on_disk < 8 << 20, f"{on_disk} bytes in temporary files"
        async with Connection.open(server) as connection:
            await echo(await connection.websocket("/ws"), "hello")
    run(talk())
    server.wait_until(lambda: not server.children(), "the programs to end")


@BOTH
@pytest.mark.parametrize("ending", ["reset", "end_stream", "goaway", "disconnect"])
def test_a_client_that_leaves_in_the_ways_of_http2(serve_http2, endpoint, ending):
    server = serve_http2({"/ws": {**endpoint, "grace": 1}})
    descriptors = len(server.fds())

    async def talk():
        async with Connection.open(server) as connection:
            stream = await connection.websocket("/ws")
            await echo(stream, "hello")
            if ending == "reset":
                await stream.cancel()
            elif ending == "end_stream":
                await stream.send_bytes(b"", end_stream=True)
                await stream.wait_closed()
                assert stream.reset is None
            elif ending == "goaway":
                connection.h2.close_connection()
                connection.writer.write(connection.h2.data_to_send())
            if ending in ("reset", "end_stream"):
                server.wait_until(lambda: not server.children(), "the program to end")
                await echo(await connection.websocket("/ws"), "the connection is still good")
    run(talk())
    server.wait_until(lambda: not server.children(), "the program to end")
    server.wait_until(lambda: len(server.fds()) <= descriptors, "the descriptors to be closed")


@pytest.mark.parametrize("fields, status", [
    ({"sec_websocket_version": "12"}, 426),
    ({"sec_websocket_version": None}, 400),
    ({"sec_websocket_version": "13, 13"}, 426),
    ({"content_length": "5"}, 400), ({"content_length": "0"}, 200),
    ({"_path": "/ws%00"}, 400),
    ({"_path": "/ws/../../etc"}, 404),
    ({"origin": "http://evil.example"}, 403),
    ({"origin": "http://localhost"}, 200),
    ({"_path": "/nothing"}, 404),
    ({"_path": "/gone"}, 500),
])
def test_refusals_have_the_right_status_and_leave_nothing(serve_http2, program, tmp_path, fields,
                                                          status):
    server = serve_http2({"/ws": ECHO_LINES, "/gone": {"bin-path": program("p", "#!/bin/sh\n")}})
    (tmp_path / "p").unlink()

    async def talk():
        async with Connection.open(server) as connection:
            stream = await connection.request("/ws", **fields)
            assert await stream.response() == status
            if status == 200:
                await echo(stream, "hello")
            else:
                await stream.wait_closed()
                assert not server.children()
                await echo(await connection.websocket("/ws"), "the connection is still good")
    run(talk())


def test_a_program_refuses_and_another_one_answers_too_late(serve_http2, program):
    refuses = program("p", "#!/bin/sh\nprintf 'Status: 403\\nX-Why: no\\n\\n'\n")
    late = program("q", "#!/bin/sh\nexec sleep 300\n")
    server = serve_http2({
        "/no": {"bin-path": refuses, "framing": "websocket"},
        "/late": {"bin-path": late, "framing": "websocket", "handshake-timeout": 1, "grace": 1}})

    async def talk():
        async with Connection.open(server) as connection:
            stream = await connection.request("/no")
            assert await stream.response() == 403
            assert stream.headers["x-why"] == "no"
            stream = await connection.request("/late")
            assert await stream.response() == 504
    run(talk())
    server.wait_until(lambda: not server.children(), "the programs to end")


@pytest.mark.parametrize("ending, code", [("exit 0", 1000), ("exit 3", 1011), ("kill -9 $$", 1011)])
def test_the_exit_status_decides_the_close_code(serve_http2, program, ending, code):
    server = serve_http2({"/ws": {"bin-path": program("p", f"#!/bin/sh\necho hello\n{ending}\n")}})

    async def talk():
        async with Connection.open(server) as connection:
            stream = await connection.websocket("/ws")
            assert await stream.recv() == "hello"
            with pytest.raises(Closed) as closed:
                await stream.recv()
            assert closed.value.code == code
            await stream.send_close(code)
            await stream.wait_closed()
            assert stream.ended and stream.reset in (None, h2.errors.ErrorCodes.NO_ERROR)
    run(talk())


def test_a_silent_stream_outlives_the_idle_timeouts_of_requests(serve_http2):
    """Our pings see to it."""
    server = serve_http2({"/ws": {**ECHO_LINES, "ping-interval": 1}},
                         "server.max-read-idle = 2\nserver.max-write-idle = 3\n"
                         "server.max-keep-alive-idle = 1\n")

    async def talk():
        async with Connection.open(server) as connection:
            stream = await connection.websocket("/ws")
            await echo(stream, "hello")
            await connection.until(lambda: stream.pings >= 5)
            await echo(stream, "still here")
    run(talk())


def test_the_environment_is_the_same_as_over_http_1(start_lighttpd, tmp_path):
    """But for what differs between any two requests: the session, its port and its key."""
    vhosts = tmp_path / "vhosts"
    (vhosts / "127.0.0.1" / "htdocs").mkdir(parents=True)
    server = start_lighttpd(
        server_directive({"/env": {"bin-path": "/usr/bin/env"}}) + H2C +
        f'simple-vhost.server-root = "{vhosts}/"\nsimple-vhost.document-root = "htdocs"\n'
        f'alias.url = ( "/env/aliased" => "{tmp_path}" )\n',
        modules=["mod_wscgi", "mod_simple_vhost", "mod_alias"])

    async def over_http_2(path):
        async with Connection.open(server) as connection:
            stream = await connection.websocket(path, _authority=f"127.0.0.1:{server.port}")
            with contextlib.suppress(Closed):
                while True:
                    yield await stream.recv()

    async def variables_of(lines):
        return dict([line.split("=", 1) async for line in lines])

    async def over_http_1(path):
        async with websockets.connect(server.url(path, "ws"), compression=None,
                                      user_agent_header=None) as client:
            async for line in client:
                yield line
    for path in ("/env", "/env/more/path?a=b", "/env/aliased/x"):
        one = run(variables_of(over_http_1(path)))
        two = run(variables_of(over_http_2(path)))
        assert one["DOCUMENT_ROOT"].startswith(str(tmp_path)) and one["SCRIPT_FILENAME"]
        for variables in (one, two):
            for name in ("UNIQUE_ID", "REMOTE_PORT", "HTTP_SEC_WEBSOCKET_KEY"):
                variables.pop(name)
            variables["HTTP_CONNECTION"] = variables["HTTP_CONNECTION"].lower()
        assert one == two


def test_the_environment_is_that_of_an_upgrade_with_tls(serve, tls):
    server = serve({"/env": {"bin-path": "/usr/bin/env"}}, tls.config)

    async def talk():
        async with Connection.open(tls, tls.context("h2")) as connection:
            stream = await connection.websocket("/env", _scheme="https")
            lines = []
            try:
                while True:
                    lines.append(await stream.recv())
            except Closed:
                return dict(line.split("=", 1) for line in lines)
    variables = run(talk())
    assert variables.items() >= {"SERVER_PROTOCOL": "HTTP/1.1", "REQUEST_METHOD": "GET",
                                 "REQUEST_SCHEME": "https", "HTTPS": "on"}.items()
