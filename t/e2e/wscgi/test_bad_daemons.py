# SPDX-License-Identifier: BSD-3-Clause
"""Daemons that do what they should not: the right close code or status, a log line that says why,
and nothing left of the session."""
import os
import pathlib
import re
import signal
import time

import pytest
from test_bad_input import RawClient, assert_serves, frame, request

PROGRAMS = pathlib.Path(__file__).parent / "programs"
BAD, ECHO = str(PROGRAMS / "bad_daemon.py"), str(PROGRAMS / "echo_daemon.py")
CLOSE = frame(b"\x03\xe8", opcode=8)


def daemon(how, **options):
    return {"model": "daemon", "bin-path": BAD, "arguments": [how], "grace": 1, "close-timeout": 1,
            **options}


@pytest.fixture
def start(serve):
    """start(how, options): a server whose daemon is up."""
    def start(how, **options):
        server = serve({"/ws": daemon(how, **options)})
        server.wait_for("daemon [0-9]+: up")
        return server
    return start


def messages_and_close(client):
    """Text messages, whole, and the close code."""
    messages, parts = [], []
    while received := client.read_frame():
        if received[0] == 0x88:
            return messages, int.from_bytes(received[1][:2], "big")
        parts.append(received[1])
        if received[0] & 0x80:
            messages.append(b"".join(parts))
            parts = []
    return messages, None


@pytest.mark.parametrize("how, messages, code, log", [
    ("half", [b"half"], 1000, "closed with 1000"),
    ("reset", [b"whole", b"half"], 1011, "closed with 1011: connection to the daemon was lost"),
    ("endless", [b"x" * (100 << 20)], 1000, "closed with 1000"),
    ("nul", [b"a\0b\0"], 1000, "closed with 1000"),
    ("invalid", [b"good"], 1011, "closed with 1011: program wrote text that is not UTF-8"),
    ("shut", [b"last"], 1000, "closed with 1000"),
    ("stderr", [b"done"], 1000, "closed with 1000"),
    ("dies", [], 1000, "closed with 1000"),
    ("leaves", [], 1000, "closed with 1000"),
])
def test_what_a_daemon_does_to_its_session(start, how, messages, code, log):
    server = start(how)
    descriptors, memory = len(server.fds()), server.rss()
    with RawClient(server, request()) as client:
        client.send(frame(b"go"))
        assert messages_and_close(client) == (messages, code)
        client.send(CLOSE)
        client.reader.read()
    server.wait_for(f"ended after .*: {log}")
    server.wait_until(lambda: len(server.fds()) <= descriptors, "the descriptors to be closed")
    assert server.rss() - memory < 8 << 20


def test_what_a_daemon_writes_to_stderr_is_limited(start):
    server = start("stderr")
    with RawClient(server, request()) as client:
        client.send(frame(b"go"))
        assert client.read_frame() == (0x81, b"done")
    assert len(re.findall("xxxx$", server.log_text(), re.M)) in range(90, 500)


@pytest.mark.parametrize("how", ["hold", "deaf-to-signals"])
def test_a_daemon_that_keeps_the_connection_is_waited_for_a_grace(start, how):
    server = start(how)
    descriptors = len(server.fds())
    with RawClient(server, request()) as client:
        client.send(frame(b"go"))
        assert client.read_frame() == (0x81, b"held")
        client.send(CLOSE)
        assert client.read_close() == 1000
    server.wait_for("ended after [1-4] s")
    server.wait_until(lambda: len(server.fds()) <= descriptors, "the descriptors to be closed")


def test_a_daemon_that_is_deaf_to_signals_ends_with_the_server(start):
    server = start("deaf-to-signals")
    server.send_signal(signal.SIGHUP)  # which is for the logs, and no reason to end
    begun = time.monotonic()
    server.stop()
    assert time.monotonic() - begun < 10


def test_a_daemon_that_dies_in_every_session_serves_the_next(start):
    server = start("leaves")
    for _ in range(3):
        with RawClient(server, request()) as client:
            client.send(frame(b"go"))
            assert client.read_close() in (1000, 1011)
            client.send(CLOSE)
    server.wait_for("daemon .* ended .exited with status 3")


def test_a_daemon_that_never_stays_is_a_503_in_bounded_time(serve):
    server = serve({"/ws": daemon("at-once", **{"connect-timeout": 1})})
    begun, seen = time.monotonic(), set()
    while 503 not in seen:
        assert time.monotonic() - begun < 15, seen
        with RawClient(server, request()) as client:
            seen.add(client.status)
            if client.status == 101:  # the daemon might have come yet
                assert client.read_close() == 1011
    server.wait_for("no daemon stays; sessions are refused")
    server.wait_for("refused with 503: no daemon answers")
    assert not [what for what in server.fds().values() if "wscgi" in what]


def test_a_daemon_that_stays_at_last_is_connected_to_again(serve, tmp_path):
    program = tmp_path / "daemon"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    server = serve({"/ws": {"model": "daemon", "bin-path": str(program), "connect-timeout": 1}})
    server.wait_for("no daemon stays")
    program.write_text(f"#!/bin/sh\nexec {ECHO}\n")
    server.wait_for("daemon [0-9]+: daemon", timeout=30)
    assert_serves(server)


def test_a_daemon_that_goes_into_the_background_is_told_to_stay(serve):
    server = serve({"/ws": daemon("forks")})
    server.wait_for("daemon .* ended .exited with status 0; it must stay in the foreground")


def test_a_daemon_whose_program_vanishes_is_a_503_and_back_when_it_is_back(serve, tmp_path):
    program = tmp_path / "daemon"
    program.symlink_to(ECHO)
    server = serve({"/ws": {"model": "daemon", "bin-path": str(program), "connect-timeout": 1}})
    server.wait_for("daemon [0-9]+: daemon")
    program.unlink()
    os.kill(server.children()[0], signal.SIGKILL)
    server.wait_for("no daemon stays")
    server.wait_for("execve .*daemon: No such file")
    with RawClient(server, request()) as client:
        assert client.status == 503
    program.symlink_to(ECHO)
    server.wait_for("No such file(.|\n)*daemon [0-9]+: daemon", timeout=30)
    assert_serves(server)
