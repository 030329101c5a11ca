# SPDX-License-Identifier: BSD-3-Clause
"""Bad clients and bad programs in the framings and models that test_bad_input.py leaves out, and
with compression: the right close code, a log line that says why, and nothing left."""
import contextlib
import pathlib
import zlib

import pytest
from conftest import SAMPLES
from test_bad_input import UPGRADE, RawClient, assert_serves, frame, no_programs, request

PROGRAMS = pathlib.Path(__file__).parent / "programs"
DAEMON = {"model": "daemon", "bin-path": str(PROGRAMS / "echo_daemon.py")}
TIMES = {"ping-interval": 1, "pong-timeout": 1, "close-timeout": 1, "grace": 1}
CAT = {"bin-path": "/bin/cat"}
ENDPOINTS = {
    "stream": {**CAT, "framing": "stream"},
    "packet": {"bin-path": str(PROGRAMS / "echo_packets.py"), "framing": "packet"},
    "length": {**CAT, "framing": "length"},
    "deflate": {**CAT, "deflate": "enable"},
    "shared": {**CAT, "model": "shared", "linger": 0},
    "daemon stream": {**DAEMON, "framing": "stream"},
    "daemon packet": {**DAEMON, "framing": "packet", "arguments": ["packet"]},
    "daemon length": {**DAEMON, "framing": "length"},
}
FRAMES = {"bin-path": str(SAMPLES / "ws_echo.py"), "framing": "websocket", "close-timeout": 1,
          "grace": 1}
DEFLATE = [*UPGRADE, "Sec-WebSocket-Extensions: permessage-deflate"]
ALL = pytest.mark.parametrize("name", ENDPOINTS)


@pytest.fixture
def endpoint(serve):
    """endpoint(options): a server with it at /ws; when the block ends nothing of its sessions may
    be left."""
    @contextlib.contextmanager
    def start(options):
        server = serve({"/ws": options})
        daemons = options.get("model") == "daemon"
        if daemons:
            server.wait_until(server.children, "the daemon")
            with RawClient(server, request()) as client:  # once, so that all is set up
                assert client.status == 101
            server.wait_for("ended after")
            server.wait_for_no_client()
        children, descriptors = set(server.children()), len(server.fds())
        yield server
        if daemons:
            server.wait_until(lambda: set(server.children()) == children, "only the daemon")
        else:
            no_programs(server)
        server.wait_until(lambda: len(server.fds()) <= descriptors, "the descriptors to be closed")
    return start


@ALL
@pytest.mark.parametrize("size", [1, 100])
def test_half_a_frame_then_silence_ends_in_1001(endpoint, name, size):
    with endpoint({**ENDPOINTS[name], **TIMES}) as server, \
            RawClient(server, request(lines=DEFLATE)) as client:
        client.send(frame(b"x" * 300, opcode=1)[:size])
        assert client.read_close() == 1001
        client.reader.read()
        server.wait_for("ended after .*: client did not answer a ping")


def test_half_a_frame_to_a_program_with_frames_of_its_own_ends_by_idle_timeout(endpoint):
    with endpoint({**FRAMES, "idle-timeout": 1}) as server, RawClient(server, request()) as client:
        client.send(frame(b"x" * 300)[:100])
        client.reader.read()
        server.wait_for("ended after .*idle")


@ALL
def test_a_length_of_2_to_the_63_is_refused(endpoint, name):
    with endpoint({**ENDPOINTS[name], **TIMES}) as server, \
            RawClient(server, request(lines=DEFLATE)) as client:
        client.send(frame(length=1 << 63))
        code = client.read_close()
        assert code in (1002, 1009)
        client.reader.read()
        server.wait_for(r"ended after .* bytes out: \w.*")


@ALL
def test_a_client_that_dies_within_a_message(endpoint, name):
    with endpoint({**ENDPOINTS[name], **TIMES}) as server:
        seen = server.log_text().count("ended after")
        for data in (frame(b"x" * 9000, fin=False), frame(b"x" * 70000)[:40000]):
            with RawClient(server, request(lines=DEFLATE)) as client:
                client.send(data)
        server.wait_until(lambda: server.log_text().count("ended after") == seen + 2, "log lines")


def test_a_client_of_a_program_with_frames_of_its_own_that_dies_within_a_message(endpoint):
    with endpoint(FRAMES) as server:
        with RawClient(server, request()) as client:
            client.send(frame(b"x" * 9000)[:5000])
        server.wait_for("ended after")


def bomb(size):
    """A compressed text message of so many zeros' worth."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece, packed = b"x" * (1 << 20), b""
    for _ in range(size >> 20):
        packed += packer.compress(piece)
    payload = packed + packer.flush(zlib.Z_SYNC_FLUSH)[:-4]
    sent = frame(payload)
    return bytes([sent[0] | 0x40]) + sent[1:]


@pytest.mark.parametrize("name", ["deflate", "length", "stream", "packet", "shared",
                                  "daemon length"])
def test_a_bomb_ends_in_1009_with_memory_flat(endpoint, name):
    options = {**ENDPOINTS[name], **TIMES, "deflate": "enable"}
    if name != "packet":
        options["max-message"] = 1 << 20
    with endpoint({**options, "ping-interval": 0}) as server, \
            RawClient(server, request(lines=DEFLATE)) as client:
        before = server.rss()
        client.send(bomb(256 << 20))
        assert client.read_close() == 1009
        assert server.rss() - before < 8 << 20
        client.reader.read()
        server.wait_for(r"ended after .* bytes out: \w.*")


def test_broken_compressed_bytes_end_in_1007(endpoint):
    with endpoint({**ENDPOINTS["deflate"], **TIMES}) as server, \
            RawClient(server, request(lines=DEFLATE)) as client:
        client.send(b"\xc1" + frame(b"\xff" * 50)[1:])
        assert client.read_close() == 1007
        client.reader.read()
        server.wait_for(r"ended after .* bytes out: \w.*")


# ---- Programs

@pytest.mark.parametrize("options, text, code", [
    ({"framing": "stream"}, "exit 0", 1000),
    ({"framing": "stream"}, "printf half; exit 3", 1011),
    ({"framing": "packet"}, "exit 3", 1011),
    ({"framing": "packet"}, "printf half; exit 3", 1011),
    ({"framing": "length"}, "exit 3", 1011),
    ({"framing": "length"}, "printf 'T\\0\\0\\0\\5he'; exit 0", 1011),
    ({"framing": "length"}, "printf 'garbage!'; sleep 300", 1011),
    ({"framing": "length"}, "printf 'T\\377\\377\\377\\377'; exit 0", 1011),
    ({"model": "shared", "linger": 0}, "printf half; exit 3", 1011),
    ({"model": "shared", "linger": 0, "framing": "length"}, "printf 'garbage!'; sleep 300", 1011),
    ({"deflate": "enable"}, "printf half; exit 3", 1011),
    ({"framing": "stream"}, "trap '' TERM; exec >&- 2>&-; while :; do sleep 1; done", 1011),
    ({"framing": "length"}, "trap '' TERM; printf 'garbage!'; while :; do sleep 1; done", 1011),
])
def test_bad_programs(endpoint, program, options, text, code):
    # The program waits for a byte, so that nothing comes before the session is there.
    path = program("p", f"#!/bin/sh\nhead -c 1 >/dev/null\n{text}\n")
    with endpoint({**TIMES, "ping-interval": 0, **options, "bin-path": path}) as server, \
            RawClient(server, request(lines=DEFLATE)) as client:
        client.send(frame(b"go\n"))
        assert client.read_close() == code
        client.send(frame(code.to_bytes(2, "big"), opcode=8))
        client.reader.read()
        server.wait_for("ended after")


@pytest.mark.parametrize("text, status", [("exit 0", 502), ("printf garbage", 502),
                                          ("printf 'Status: 101\\n'", 502)])
def test_bad_headers_of_programs_with_frames_of_their_own(endpoint, program, text, status):
    path = program("p", f"#!/bin/sh\n{text}\n")
    with endpoint({**FRAMES, "bin-path": path}) as server:
        with RawClient(server, request()) as client:
            assert client.status == status
        server.wait_for(f"refused with {status}")


@pytest.mark.parametrize("text", ["exit 0", "printf '\\201\\005he'",
                                  "trap '' TERM; while :; do sleep 1; done"])
def test_programs_that_leave_or_ignore_signals_within_their_own_frames(endpoint, program, text):
    path = program("p", f"#!/bin/sh\nprintf 'Status: 101\\n\\n'\n{text}\n")
    with endpoint({**FRAMES, "bin-path": path}) as server:
        with RawClient(server, request()) as client:
            assert client.status == 101
            if "trap" not in text:
                client.reader.read()
        server.wait_for("ended after")


def test_other_sessions_go_on_after_bad_ones(endpoint):
    with endpoint({**ENDPOINTS["daemon stream"], **TIMES, "message-type": "text"}) as server:
        for data in (frame(length=1 << 63), b"\xff" * 100, frame(b"x")[:3]):
            with RawClient(server, request()) as client:
                client.send(data)
        assert_serves(server)
