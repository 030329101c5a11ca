# SPDX-License-Identifier: BSD-3-Clause
"""Programs and clients that do what they should not; and a server that has run out of something."""
import asyncio
import contextlib
import os
import re
import socket
import tempfile
import time
import urllib.request

import pytest
import websockets
from conftest import server_directive
from lighttpd import Lighttpd

CAT = {"bin-path": "/bin/cat"}
UPGRADE = ["Host: localhost", "Upgrade: websocket", "Connection: Upgrade",
           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"]


def request(path="/ws", lines=UPGRADE, method="GET", version="1.1"):
    return "\r\n".join([f"{method} {path} HTTP/{version}", *lines, "", ""]).encode("latin-1")


def frame(payload=b"", opcode=1, fin=True, length=None):
    """A masked frame (with zeros, so that the payload can be read); `length`: a lie."""
    size = len(payload) if length is None else length
    field = bytes([0x80 | size]) if size < 126 else \
        b"\xfe" + size.to_bytes(2, "big") if size < 65536 else b"\xff" + size.to_bytes(8, "big")
    return bytes([0x80 * fin | opcode]) + field + bytes(4) + payload


class RawClient:
    """A socket, and what of WebSocket is needed to look at the server's frames."""

    def __init__(self, server, text=None, buffer=None):
        self.socket = socket.socket()
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.settimeout(20)
        self.socket.connect(("127.0.0.1", server.port))
        self.reader = self.socket.makefile("rb")
        self.status = None
        if text is not None:
            self.socket.sendall(text)
            self.read_head()

    def read_head(self):
        self.status = int(self.reader.readline().split()[1])
        while self.reader.readline().strip():
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.reader.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def read_frame(self):
        """(opcode with the FIN bit, payload), or None at the end of the connection."""
        with contextlib.suppress(ConnectionResetError):
            head = self.reader.read(2)
            if len(head) == 2:
                size = head[1]
                if size >= 126:
                    size = int.from_bytes(self.reader.read(2 if size == 126 else 8), "big")
                return head[0], self.reader.read(size)
        return None

    def read_close(self):
        """Reads up to the server's Close. Its code; None if there was none."""
        while received := self.read_frame():
            if received[0] == 0x88:
                return int.from_bytes(received[1][:2], "big") or 1005
        return None


async def conversation(server, path="/ws"):
    """All messages of a program, and the close code."""
    client = await websockets.connect(server.url(path, "ws"), max_size=None)
    messages = []
    with contextlib.suppress(websockets.ConnectionClosed):
        while True:
            messages.append(await client.recv())
    return messages, client.close_code


def converse(server, path="/ws"):
    return asyncio.run(asyncio.wait_for(conversation(server, path), 60))


def assert_serves(server, path="/ws"):
    with RawClient(server, request(path)) as client:
        assert client.status == 101
        client.send(frame(b"still alive"))
        assert client.read_frame() == (0x81, b"still alive")
        client.send(frame(b"\x03\xe8", opcode=8))
        assert client.read_close() == 1000


def no_programs(server):
    server.wait_until(lambda: not server.children(), "the programs to end")


# ---- Programs

@pytest.mark.parametrize("text, messages, code", [
    ("exit 0", [], 1000),
    ("exec true", [], 1000),
    ("printf 'half a line'", ["half a line"], 1000),
    ("printf 'half a line'; exit 1", ["half a line"], 1011),
    ("printf 'a\\0b\\0\\n'", ["a\0b\0"], 1000),
    ("printf '\\n\\r\\n\\ra\\n'", ["", "", "\ra"], 1000),
    ("printf 'good\\n\\355\\240\\200\\n'", ["good"], 1011),         # a surrogate
    ("printf 'cut short: \\342\\202\\n'", [], 1011),
    ("printf 'good\\n\\342'", ["good"], 1011),
    ("(sleep 300) & echo parent", ["parent"], 1000),                  # forks and exits
    ("echo last; exec >&-; sleep 300", ["last"], 1011),              # closes its output and lives
    ("exec >&- 2>&- <&-; trap '' TERM; while :; do sleep 1; done", [], 1011),
    ("exec <&-; echo deaf; sleep 0.2", ["deaf"], 1000),              # closes its input
])
def test_odd_programs(serve, program, text, messages, code):
    server = serve({"/ws": {"bin-path": program("p", f"#!/bin/sh\n{text}\n"), "grace": 1}})
    assert converse(server) == (messages, code)
    no_programs(server)


@pytest.mark.parametrize("size", [16383, 16384, 16385, 20000, 65536, 100000, 131072])
def test_a_long_line_without_newline_at_the_end_is_one_message(serve, program, size):
    path = program("p", f"#!/bin/sh\nhead -c {size} /dev/zero | tr '\\0' x\n")
    messages, code = converse(serve({"/ws": {"bin-path": path}}))
    assert [len(message) for message in messages] == [size] and code == 1000


def test_no_newline_for_100_megabytes(serve, program):
    path = program("p", "#!/bin/sh\nhead -c 100000000 /dev/zero | tr '\\0' x\n")
    server = serve({"/ws": {"bin-path": path}})
    before, size = server.rss(), 0
    with RawClient(server, request()) as client:
        while True:
            opcode, payload = client.read_frame()
            if opcode == 0x88:
                break
            size += len(payload)
            assert server.rss() - before < 4 << 20
    assert size == 100000000 and payload[:2] == (1000).to_bytes(2, "big")


def test_a_program_that_was_left_by_a_daemon_of_its_own(serve, program, tmp_path):
    """A grandchild in a session of its own keeps the pipe open: it lives on, the client does not
    wait for it."""
    path = program("p", f"#!/bin/sh\nsetsid sh -c 'echo $$ >{tmp_path}/pid; exec sleep 300' &\n"
                        f"while [ ! -s {tmp_path}/pid ]; do :; done\necho parent\n")
    server = serve({"/ws": {"bin-path": path, "grace": 1}})
    descriptors = len(server.fds())
    try:
        assert converse(server) == (["parent"], 1000)
        server.wait_until(lambda: len(server.fds()) <= descriptors, "the pipes to be closed")
    finally:
        os.kill(int((tmp_path / "pid").read_text()), 9)


@pytest.mark.parametrize("filter_", ["", "| tr -d '\\n'"], ids=["lines", "one-line"])
def test_a_program_that_fills_its_stderr(serve, program, filter_):
    path = program("p", f"#!/bin/sh\nyes | head -c 100000000 {filter_} >&2\necho done\n")
    server = serve({"/ws": {"bin-path": path}})
    before = server.rss()
    assert converse(server) == (["done"], 1000)
    assert server.rss() - before < 4 << 20
    assert len(server.log_text()) < 1 << 20


def test_stderr_cannot_forge_lines_or_terminal_sequences_in_the_log(serve, program):
    path = program("p", "#!/bin/sh\nprintf 'a\\rb\\033[31mc\\0d\\377\\n' >&2\necho x\n")
    server = serve({"/ws": {"bin-path": path}})
    assert converse(server)[0] == ["x"]
    server.wait_for("stderr: a")
    log = server.error_log.read_bytes()
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", log), log


def test_a_slow_program_does_not_count_as_a_client_that_is_gone(serve, program):
    """The client's pong waits behind what the program has not read yet."""
    path = program("p", "#!/bin/sh\nsleep 4\nwc -c\n")
    server = serve({"/ws": {"bin-path": path, "ping-interval": 1, "pong-timeout": 1}})

    async def talk():
        async with websockets.connect(server.url("/ws", "ws"), ping_interval=None) as client:
            for _ in range(8):
                await client.send("x" * 99999)
            closing = asyncio.create_task(client.close())
            answer = await client.recv()
            await closing
            return answer
    assert asyncio.run(asyncio.wait_for(talk(), 20)).strip() == "800000"


# ---- Requests

@pytest.mark.parametrize("text, statuses", [
    (request(method="POST"), (400, 405, 411)),
    (request(method="HEAD"), (400, 405)),
    (request(method="BREW"), (400, 405, 501)),
    (request(version="1.0"), (400, 404, 426, 505)),
    (request(lines=[*UPGRADE, "Content-Length: 5"]) + b"hello", (400,)),
    (request(lines=[*UPGRADE, "Transfer-Encoding: chunked"]) + b"0\r\n\r\n", (400,)),
    (request(lines=[*UPGRADE, "Content-Length: 5", "Content-Length: 6"]), (400,)),
    (request(lines=[*UPGRADE, "Sec-WebSocket-Version: 13"]), (400, 426)),
    (request(lines=[*UPGRADE, "Sec-WebSocket-Version: 12"]), (400, 426)),
    (request(lines=[*UPGRADE, UPGRADE[3]]), (400,)),                    # the key twice
    (request(lines=[*UPGRADE, "Host: evil"]), (400,)),
    (request(lines=[*UPGRADE, "Host: localhost"]), (101, 400)),
    (request(lines=[*UPGRADE, "Upgrade: h2c"]), (101, 400, 404)),
    (request(lines=[*UPGRADE, "Upgrade: websocket", "Connection: Upgrade"]), (101, 400, 404)),
    (request(lines=[*UPGRADE, "Connection: close"]), (101, 400, 404)),
    (request(lines=[*UPGRADE, "Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: a"]), (101, 400)),
    (request(lines=[*UPGRADE, "Sec-WebSocket-Protocol: ,, ,"]), (101, 400)),
    (request(lines=[*UPGRADE, "Sec-WebSocket-Extensions: permessage-deflate;=;;"]), (101, 400)),
    (request(lines=[*UPGRADE, "X: " + "x" * 100000]), (431,)),
    (request(lines=[*UPGRADE, "X: \xff\xfe"]), (101, 400)),
    (request(lines=[*UPGRADE, "Origin: http://localhost", "Origin: http://evil"]), (400, 403)),
    (request(lines=[*UPGRADE, "Origin: http://"]), (403,)),
    (request(lines=[*UPGRADE, "Origin: http://localhost.evil"]), (403,)),
    (request(lines=[*UPGRADE, "Origin: http://evil#://localhost"]), (400, 403)),
    (request(lines=[*UPGRADE[1:], "Host:", "Origin: http://"]), (400, 403)),
    (request("/ws%00"), (400, 404)),
    (request("/ws/%00x"), (400, 404)),
    (request("/ws/../../../etc/passwd"), (400, 404)),
    (request("/ws/%2e%2e/%2e%2e/etc"), (400, 404)),
    (request("/wsx"), (404,)),
    (request("/x/../ws"), (101,)),
    (request("//ws"), (101, 404)),
    (request("/ws%0d%0aX:%20y"), (400, 404)),
    (b"GET /ws\r\n\r\n", (400,)),
    (b"GET /ws HTTP/1.1\r\n" + b"\x81\x85" * 100 + b"\r\n\r\n", (400,)),
])
def test_odd_requests(serve, text, statuses):
    server = serve({"/ws": {"bin-path": "/usr/bin/env"}})
    with RawClient(server, text) as client:
        assert client.status in statuses
        if client.status == 101:
            lines = []
            while (received := client.read_frame())[0] == 0x81:
                lines.append(received[1])
            assert not any(b".." in line for line in lines if line.startswith(b"PATH_INFO"))
        else:
            assert not server.children()


def test_a_body_on_a_refused_upgrade_is_no_second_request(serve):
    server = serve({"/ws": CAT})
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with RawClient(server, request(lines=[*UPGRADE, f"Content-Length: {len(smuggled)}"])
                   + smuggled) as client:
        assert client.status == 400
        client.socket.shutdown(socket.SHUT_WR)
        assert b"HTTP/1.1 404" not in client.reader.read()
    assert "smuggled" not in server.wait_for("GET /ws", "access").string


def test_frames_sent_together_with_the_request_are_not_lost(serve):
    server = serve({"/ws": CAT})
    for count in (1, 100, 20000):
        with RawClient(server) as client:
            client.send(request() + frame(b"early") * count)
            client.read_head()
            assert client.status == 101
            for _ in range(count):
                assert client.read_frame() == (0x81, b"early")


def test_a_request_that_comes_byte_by_byte_and_a_frame_too(serve):
    server = serve({"/ws": CAT})
    with RawClient(server) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request() + frame(b"hello") + frame(b"x" * 200):
            client.send(bytes([byte]))
        client.read_head()
        assert client.read_frame() == (0x81, b"hello")
        assert client.read_frame() == (0x81, b"x" * 200)


def test_requests_that_never_end_are_dropped_and_disturb_nobody(serve):
    server = serve({"/ws": CAT}, "server.max-read-idle = 2\nserver.max-keep-alive-idle = 2\n")
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(RawClient(server)) for _ in range(50)]
        for client in slow:
            client.send(request()[:100])
        assert_serves(server)
        for client in slow:
            client.reader.read()  # until the server closes
        assert not server.children()


# ---- Frames

@pytest.mark.parametrize("data, codes", [
    (frame(length=1 << 62), (1009,)),
    (frame(length=1 << 63), (1002, 1009)),
    (frame(length=(1 << 64) - 1), (1002, 1009)),
    (frame(length=(64 << 20) + 1), (1009,)),
    (frame(b"x" * 126, opcode=9), (1002,)),          # a ping may not be that long
    (frame(b"x", opcode=9, fin=False), (1002,)),
    (frame(b"x", opcode=0), (1002,)),                # continues nothing
    (frame(b"x", fin=False) + frame(b"y"), (1002,)),
    (frame(b"x", opcode=3), (1002,)),
    (frame(b"x", opcode=0x41), (1002,)),             # a reserved bit
    (frame(b"\xff"), (1007,)),
    (frame(b"x", opcode=2), (1003,)),
    (frame(b"\x03", opcode=8), (1002,)),
    (frame(b"\x03\xee", opcode=8), (1002,)),         # 1006 may not be sent
    (frame(b"\x03\xe8\xff", opcode=8), (1002, 1007)),
    (b"\x81\x05hello", (1002,)),                     # not masked
    (b"GET / HTTP/1.1\r\n\r\n", (1002,)),
])
def test_odd_frames_are_answered_with_the_right_code(serve, data, codes):
    server = serve({"/ws": {**CAT, "close-timeout": 1, "grace": 1}})
    with RawClient(server, request()) as client:
        client.send(data)
        assert client.read_close() in codes
        client.reader.read()
    no_programs(server)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 6, 10, 14])
def test_half_a_frame_and_then_nothing(serve, size):
    server = serve({"/ws": {**CAT, "grace": 1}})
    descriptors = len(server.fds())
    with RawClient(server, request()) as client:
        client.send(frame(b"x" * 300)[:size])
    no_programs(server)
    server.wait_until(lambda: len(server.fds()) <= descriptors, "the descriptors to be closed")


def test_half_a_frame_from_a_client_that_stays(serve):
    server = serve({"/ws": {**CAT, "ping-interval": 1, "pong-timeout": 1, "close-timeout": 1,
                            "grace": 1}})
    with RawClient(server, request()) as client:
        client.send(frame(b"x" * 300)[:100])
        assert client.read_close() == 1001
        client.reader.read()
    no_programs(server)


@pytest.mark.parametrize("count", [65536, 131072])
def test_a_message_of_very_many_fragments(serve, count):
    server = serve({"/ws": CAT})
    with RawClient(server, request()) as client:
        client.send(frame(b"x", fin=False) + frame(b"x", 0, fin=False) * (count - 2)
                    + frame(b"x", opcode=0))
        if count > 65536:
            assert client.read_close() == 1009
        else:
            received, opcode = b"", 0
            while not opcode & 0x80:
                opcode, payload = client.read_frame()
                received += payload
            assert received == b"x" * count
    no_programs(server)


def test_bytes_after_the_close_are_ignored(serve):
    server = serve({"/ws": {**CAT, "grace": 1}})
    for rest in (frame(b"late"), b"\xff" * 100000, frame(b"\x03\xe8", opcode=8) * 1000):
        with RawClient(server, request()) as client:
            client.send(frame(b"in time") + frame(b"\x03\xe8", opcode=8) + rest)
            assert client.read_frame() == (0x81, b"in time")
            assert client.read_close() == 1000
    no_programs(server)


def test_a_client_that_reads_while_it_floods_gets_all_pongs(serve):
    server = serve({"/ws": CAT})
    with RawClient(server, request()) as client:
        for number in range(100):
            client.send(frame(b"%d" % number, opcode=9) * 100 + frame(b"%d" % number))
            while (received := client.read_frame())[0] == 0x8a:
                pass
            assert received == (0x81, b"%d" % number)


def test_pings_from_a_client_that_does_not_read_pile_up_nowhere(serve):
    server = serve({"/ws": {**CAT, "ping-interval": 0}})
    before = server.rss()
    with RawClient(server, request(), buffer=4096) as client:
        client.socket.settimeout(2)
        pings, sent = frame(b"x" * 125, opcode=9) * 1000, 0
        with contextlib.suppress(TimeoutError):  # the server stops reading, as it should
            while sent < 200 << 20:
                sent += client.socket.send(pings)
                assert server.rss() - before < 4 << 20, f"after {sent} bytes"
        assert_serves(server)
    no_programs(server)


def test_a_flooding_client_does_not_starve_others(serve, program):
    """Of one client that keeps lighttpd busy, everybody else must notice little."""
    server = serve({"/ws": CAT, "/sink": {"bin-path": program("p", "#!/bin/sh\ncat >/dev/null\n")}})
    (server.root / "file").write_text("hello")
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(Exception), RawClient(server, request("/sink")) as client:
            pongs = frame(b"x", opcode=10) * 10000
            while True:
                client.send(pongs)
        os._exit(0)
    try:
        server.wait_until(server.children, "the flood to begin")
        slowest = 0
        for _ in range(50):
            start = time.monotonic()
            with urllib.request.urlopen(server.url("/file"), timeout=10) as response:
                assert response.read() == b"hello"
            slowest = max(slowest, time.monotonic() - start)
        assert slowest < 0.5
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    no_programs(server)


@pytest.mark.parametrize("framing", ["lines", "websocket"])
def test_a_client_that_stops_reading_for_good_is_let_go(serve, program, framing):
    """Its session ends by the missing pong (or by lighttpd's own timeout), and with it the
    connection, though bytes are queued that it will never read."""
    path = program("p", "#!/bin/sh\nprintf 'Status: 101\\n\\n'\nexec yes\n")
    endpoint = {"bin-path": path if framing == "websocket" else "/usr/bin/yes", "framing": framing,
                "close-timeout": 1, "grace": 1}
    if framing == "lines":
        endpoint |= {"ping-interval": 1, "pong-timeout": 1}
    server = serve({"/ws": endpoint}, "server.max-write-idle = 3\nserver.max-read-idle = 3\n")
    descriptors = len(server.fds())
    with RawClient(server, request(), buffer=4096) as client:
        assert client.status == 101
        no_programs(server)
        server.wait_until(lambda: len(server.fds()) <= descriptors, "the connection to be closed")


def test_a_client_that_leaves_while_its_program_does_not_read(serve, program):
    """The connection is not read from then, but its end must be noticed."""
    path = program("p", "#!/bin/sh\nexec sleep 300\n")
    server = serve({"/ws": {"bin-path": path, "ping-interval": 1, "pong-timeout": 1,
                            "close-timeout": 1, "grace": 1}})
    for leave in ("close", "reset"):
        client = RawClient(server, request())
        client.socket.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while True:
                client.socket.send(frame(b"x" * 65000) * 4)
        if leave == "reset":
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        no_programs(server)


# ---- A server that has run out of something

def test_descriptors_run_out_and_come_back(serve):
    server = serve({"/ws": {**CAT, "grace": 1}}, "server.max-fds = 64\n")
    descriptors = len(server.fds())
    with contextlib.ExitStack() as stack:
        statuses = []
        for _ in range(25):
            client = stack.enter_context(RawClient(server))
            client.socket.settimeout(0.5)
            try:
                client.send(request())
                client.read_head()
                statuses.append(client.status)
            except TimeoutError:
                statuses.append(None)  # not accepted yet: lighttpd waits for descriptors
        assert statuses[:4] == [101] * 4
        assert set(statuses) <= {101, 500, 503, None} and set(statuses) & {500, 503, None}
    no_programs(server)
    server.wait_until(lambda: len(server.fds()) <= descriptors, "the descriptors to be closed")
    for _ in range(3):
        assert_serves(server)


def test_no_more_processes_may_be_started():
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)
        config = server_directive({"/ws": CAT})
        if os.geteuid() == 0:  # whom the limit does not bind
            config += 'server.username = "nobody"\n'
        server = Lighttpd(directory, config, modules=["mod_wscgi"])
        server.start(wrapper=("prlimit", "--nproc=1"))
        descriptors = len(server.fds())
        for _ in range(5):
            with RawClient(server, request()) as client:
                assert client.status in (500, 503)
        server.wait_for("vfork .*Resource temporarily unavailable")
        server.wait_until(lambda: len(server.fds()) <= descriptors, "the descriptors to be closed")
        server.stop()
