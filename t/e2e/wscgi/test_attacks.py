# SPDX-License-Identifier: BSD-3-Clause
"""Clients that mean harm, over HTTP/1.1 and with HTTP/2's own tricks, at every stage of a session:
the server goes on serving, grows nothing, and nothing of them is left."""
import contextlib
import random
import socket
import struct

import hpack
import pytest
from conftest import SAMPLES
from hyperframe.frame import (ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame,
                              PingFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame)
from test_bad_framings import bomb
from test_bad_input import UPGRADE, RawClient, assert_serves, frame, request
from test_http2 import H2C

SMALL = 8 << 20
TIMES = {"grace": 1, "close-timeout": 1, "ping-interval": 1, "pong-timeout": 1}
ECHO = {"bin-path": "/bin/cat"}
ENDPOINTS = {
    "/ws": {**ECHO, **TIMES},
    "/length": {**ECHO, **TIMES, "framing": "length", "deflate": "enable"},
    "/frames": {"bin-path": str(SAMPLES / "ws_echo.py"), "framing": "websocket", "grace": 1,
                "idle-timeout": 3},
    "/yes": {**TIMES, "bin-path": "/usr/bin/yes"},
    "/shared": {**ECHO, **TIMES, "model": "shared", "linger": 0},
    "/mine": {**ECHO, **TIMES, "origins": ["https://example.org"], "max-per-address": 1},
}
DEFLATE = [*UPGRADE, "Sec-WebSocket-Extensions: permessage-deflate"]


@pytest.fixture
def server(serve, program, tmp_path):
    """What it has when it starts, it must have at the end."""
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    deaf = {**TIMES, "bin-path": program("deaf", "#!/bin/sh\nexec sleep 300\n")}
    mute = {"bin-path": deaf["bin-path"], "headers": "enable", "grace": 1}
    made = serve({**ENDPOINTS, "/deaf": deaf, "/mute": mute},
                 H2C + f'server.upload-dirs = ( "{uploads}" )\nserver.max-read-idle = 2\n')
    assert_serves(made)
    made.wait_until(lambda: not made.children(), "the first program to end")
    made.wait_for_no_client()
    descriptors, memory = len(made.fds()), made.rss()
    made.uploads = uploads
    yield made
    assert_serves(made)
    made.wait_until(lambda: not made.children(), "the programs to end", timeout=60)
    made.wait_until(lambda: len(made.fds()) <= descriptors, "the descriptors to be closed",
                    timeout=60)
    assert made.rss() - memory < SMALL
    assert not list(uploads.iterdir())


def abort(client):
    with contextlib.suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


# ---- HTTP/1.1

@pytest.mark.parametrize("path", ["/ws", "/length", "/frames", "/shared"])
def test_resets_after_every_byte(server, path):
    data = request(path, DEFLATE) + frame(b"hello") + frame(b"\x03\xe8", opcode=8)
    for size in range(len(data) + 1):
        client = server.connect()
        client.sendall(data[:size])
        abort(client)


def test_thousands_of_refused_upgrades(server):
    requests = [request("/mine", [*UPGRADE, "Origin: http://evil.example"]),
                request("/ws", [line for line in UPGRADE if "Key" not in line]),
                request("/ws", [line.replace("13", "8") for line in UPGRADE]),
                request("/ws", [*UPGRADE, "X-A: 1", "X_A: 2"]),
                request("/ws", method="POST", lines=[*UPGRADE, "Content-Length: 0"])]
    for number in range(3000):
        with RawClient(server, requests[number % len(requests)]) as client:
            assert client.status in (400, 403, 405, 426)
    assert "spawn" not in server.log_text()


def test_handshakes_that_trickle_in_are_dropped(server):
    clients = [server.connect() for _ in range(200)]
    head = request()
    for number, client in enumerate(clients):
        client.sendall(head[:number % len(head)])
    assert_serves(server)
    for client in clients:  # closed by the server, or answered 408
        client.settimeout(30)
        with contextlib.suppress(ConnectionError):
            while client.recv(4096):
                pass
        client.close()


def mangled(source):
    """Frames, some of them good, some cut, twisted or repeated."""
    data = b""
    for _ in range(source.randrange(1, 12)):
        payload = source.randbytes(source.choice([0, 1, 10, 125, 126, 4000, 70000]))
        if source.random() < 0.5:
            payload = bytes(byte & 0x7f for byte in payload)
        opcode = source.choice([0, 1, 1, 1, 2, 8, 9, 9, 10, 10, source.randrange(16)])
        one = bytearray(frame(payload, opcode=opcode, fin=source.random() < 0.7))
        if source.random() < 0.2:
            one[0] |= source.choice([0x10, 0x20, 0x40, 0x40, 0x40])
        if source.random() < 0.1:
            one[source.randrange(min(len(one), 14))] = source.randrange(256)
        if source.random() < 0.1:
            del one[source.randrange(len(one)):]
        data += one
    return data


@pytest.mark.parametrize("path", ["/ws", "/length", "/frames", "/yes", "/shared"])
def test_mangled_frames(server, path):
    source = random.Random(path)
    for _ in range(30 if path == "/frames" else 150):  # Python starts slowly
        client = RawClient(server, request(path, DEFLATE))
        assert client.status == 101
        with contextlib.suppress(OSError):
            data = mangled(source)
            client.socket.settimeout(0.05)
            while data:
                size = source.choice([1, 7, 100, len(data)])
                client.send(data[:size])
                data = data[size:]
                if source.random() < 0.3:
                    client.reader.read1(65536)
        abort(client.socket)


def test_many_bombs_at_once(server):
    data, before, count = bomb(64 << 20), server.rss(), 8  # of max-message: not too large
    clients = [RawClient(server, request("/length", DEFLATE)) for _ in range(count)]
    for client in clients:
        client.socket.settimeout(1)
        with contextlib.suppress(OSError):
            client.send(data)
    assert_serves(server)
    # A window each way, what zlib needs in both directions, and what was inflated in one go.
    assert server.rss() - before < count * (768 << 10) + (4 << 20)
    for client in clients:
        abort(client.socket)


# ---- HTTP/2

class Raw2:
    """A connection whose frames are made by hand; it keeps no rule by itself."""

    def __init__(self, server, **settings):
        self.socket = server.connect()
        self.encoder, self.next = hpack.Encoder(), 1
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self.send(SettingsFrame(0, settings=settings.get("settings", {})))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        abort(self.socket)

    def send(self, *frames):
        """False if the server has closed the connection."""
        try:
            self.socket.sendall(b"".join(one if isinstance(one, bytes) else one.serialize()
                                         for one in frames))
            return True
        except OSError:
            return False

    def connect_frame(self, path="/ws", flags=("END_HEADERS",), **fields):
        number, self.next = self.next, self.next + 2
        block = self.encoder.encode(
            {":method": "CONNECT", ":protocol": "websocket", ":scheme": "http", ":path": path,
             ":authority": "localhost", "sec-websocket-version": "13", **fields}.items())
        return HeadersFrame(number, block, flags=flags)

    def frames(self):
        """The server's, until it closes the connection."""
        reader = self.socket.makefile("rb")
        with contextlib.suppress(ConnectionError, TimeoutError):
            while len(head := reader.read(9)) == 9:
                one, size = Frame.parse_frame_header(memoryview(head))
                one.parse_body(memoryview(reader.read(size)))
                yield one

    def open(self, path="/ws", **fields):
        """The number of a stream that was answered."""
        self.send(one := self.connect_frame(path, **fields))
        for answer in self.frames():
            if isinstance(answer, HeadersFrame) and answer.stream_id == one.stream_id:
                return one.stream_id
        raise AssertionError("no answer")

    def until_read(self):
        """Waits until the server has read what it was sent."""
        self.send(PingFrame(0, b"readthis"))
        for answer in self.frames():
            if isinstance(answer, PingFrame) and "ACK" in answer.flags:
                return
        raise AssertionError("no answer")

    def until_closed(self, *kinds):
        """Reads up to the end of the connection, or to one of these frames. Whether it came."""
        self.socket.settimeout(20)
        return any(isinstance(one, kinds) for one in self.frames())


def test_streams_that_are_reset_at_once_thousands_of_times(server):
    for _ in range(30):
        with Raw2(server) as client:
            for _ in range(100):
                one = client.connect_frame()
                if not client.send(one, RstStreamFrame(one.stream_id, error_code=8)):
                    break


STAGES = {
    "end of stream in the request": lambda c: c.send(
        c.connect_frame(flags=("END_HEADERS", "END_STREAM"))),
    "trailers": lambda c: c.send(HeadersFrame(
        c.open(), c.encoder.encode([("x", "y")]), flags=("END_HEADERS", "END_STREAM"))),
    "trailers without an end": lambda c: c.send(HeadersFrame(
        c.open(), c.encoder.encode([("x", "y")]), flags=("END_HEADERS",))),
    "an unfinished header": lambda c: c.send(c.connect_frame(flags=())),
    "continuations without end": lambda c: c.send(
        c.connect_frame(flags=()), *[ContinuationFrame(1, b"\0\1x\1y" * 100)] * 200),
    "data before the answer": lambda c: c.send(
        c.connect_frame("/frames"), DataFrame(1, frame(b"x") * 100)),
    "data after the end": lambda c: c.send(
        DataFrame(c.open(), frame(b"x"), flags=("END_STREAM",)), DataFrame(1, frame(b"y"))),
    "data after a reset": lambda c: c.send(
        RstStreamFrame(c.open(), error_code=8), *[DataFrame(1, frame(b"y"))] * 100),
    "data on a stream that never was": lambda c: c.send(DataFrame(99, b"x")),
    "data of no bytes": lambda c: c.send(*[DataFrame(c.open(), b"")] * 5000),
    "padding": lambda c: c.send(
        *[DataFrame(c.open(), frame(b"x"), flags=("PADDED",), pad_length=255)] * 100),
    "goaway": lambda c: (c.open(), c.send(GoAwayFrame(0), DataFrame(1, frame(b"x")))),
    "a window that overflows": lambda c: c.send(
        *[WindowUpdateFrame(c.open(), window_increment=0x7fffffff)] * 2),
    "windows opened byte by byte": lambda c: c.send(
        *[WindowUpdateFrame(c.open("/yes"), window_increment=1)] * 5000),
    "a window of none, and again": lambda c: (c.open("/yes"), c.send(
        *[SettingsFrame(0, settings={4: 0}), SettingsFrame(0, settings={4: 65535})] * 200)),
    "a window that was too large": lambda c: (c.open("/yes"), c.send(
        SettingsFrame(0, settings={4: 0x7fffffff}),
        WindowUpdateFrame(1, window_increment=0x7fffffff))),
    "settings without end": lambda c: (c.open(), c.send(
        *[SettingsFrame(0, settings={1: 0}), SettingsFrame(0, settings={1: 4096})] * 3000)),
    "pings without end": lambda c: (c.open(), c.send(*[PingFrame(0, b"x" * 8)] * 10000)),
    "the stream again": lambda c: (c.open(), c.send(HeadersFrame(
        1, c.encoder.encode([(":method", "CONNECT")]), flags=("END_HEADERS",)))),
    "an unknown frame": lambda c: (c.open(), c.send(b"\0\0\4\xee\0\0\0\0\1abcd" * 100)),
    "garbage": lambda c: (c.open(), c.send(random.Random(2).randbytes(5000))),
}


@pytest.mark.parametrize("stage", STAGES)
def test_tricks_of_http_2(server, stage):
    for leave in ("abort", "finish", "wait"):
        with Raw2(server) as client:
            STAGES[stage](client)
            if leave == "finish":
                client.socket.shutdown(socket.SHUT_WR)
            if leave != "abort":
                client.socket.settimeout(0.5)
                for _ in zip(range(2000), client.frames()):
                    pass
        assert_serves(server)


@pytest.mark.parametrize("fields, status", [
    ({"x-a": "1", "x_a": "2"}, b"400"),  # which become the same variable
    ({"x-a": "1", "x_b": "2"}, b"200"),
    ({"sec-websocket-protocol": "a", "sec_websocket_protocol": "b"}, b"400"),
    ({"X-A": "1"}, None),  # capitals are no names of HTTP/2
    ({"connection": "upgrade"}, None), ({"upgrade": "websocket"}, None),
], ids=str)
def test_fields_that_collide_or_may_not_be(server, fields, status):
    with Raw2(server) as client:
        client.send(one := client.connect_frame(**fields))
        client.socket.settimeout(20)
        for answer in client.frames():
            if isinstance(answer, (HeadersFrame, RstStreamFrame, GoAwayFrame)):
                break
        if isinstance(answer, HeadersFrame):
            seen = dict(hpack.Decoder().decode(answer.data, raw=True))[b":status"]
        else:
            seen = None
        assert seen == status or status is None and seen == b"400"
    assert status == b"200" or "spawn" not in server.log_text()


def test_who_ignores_the_window_is_stopped(server):
    with Raw2(server) as client:
        number, sent = client.open("/deaf"), 0
        client.socket.settimeout(3)
        data = DataFrame(number, frame(b"x" * 16000)).serialize()
        before = server.rss()
        while sent < 50 << 20 and client.send(data * 8):  # the stream ends, the connection may live
            sent += len(data) * 8
            with contextlib.suppress(FileNotFoundError):
                on_disk = sum(path.stat().st_size for path in server.uploads.iterdir())
                assert on_disk < 4 << 20
            assert server.rss() - before < SMALL
        assert_serves(server)


def test_garbage_instead_of_every_kind_of_frame(server):
    source = random.Random(7)
    for _ in range(200):
        with Raw2(server) as client:
            client.send(client.connect_frame(source.choice(["/ws", "/yes", "/frames", "/length"])))
            for _ in range(source.randrange(20)):
                body = source.randbytes(source.choice([0, 1, 4, 8, 100]))
                kind, flags = source.randrange(10), source.choice([0, 1, 4, 5, 8, 32])
                stream = source.choice([0, 1, 1, 1, 3])
                if not client.send(struct.pack(">I", len(body))[1:] + bytes([kind, flags])
                                   + struct.pack(">I", stream) + body):
                    break


@pytest.mark.parametrize("path", ["/deaf", "/mute"])
def test_small_pieces_that_nobody_reads_take_little_memory(server, path):
    """lighttpd keeps the whole buffer that a piece was read into: for these 40 MB."""
    with Raw2(server) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if path == "/deaf":
            number = client.open(path)
            client.send(DataFrame(number, b"\x81\xff" + struct.pack(">Q", 1 << 20) + bytes(4)),
                        *[DataFrame(number, bytes(0x2000))] * 9)  # more than a pipe takes
        else:
            client.send(one := client.connect_frame(path))
            number = one.stream_id
        client.until_read()
        before = server.rss()
        for _ in range(5000):
            client.send(DataFrame(number, b"x"))
        client.until_read()
        assert server.rss() - before < SMALL / 4
