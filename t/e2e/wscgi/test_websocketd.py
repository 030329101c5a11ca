# SPDX-License-Identifier: BSD-3-Clause
"""The same programs under Debian's websocketd and under mod_wscgi, told apart by nothing."""
import asyncio
import contextlib
import socket
import subprocess
import time

import pytest
import websockets
from conftest import server_directive
from lighttpd import free_port
from test_samples import LANGUAGES, sample

NAMES = ("count", "greeter", "dump-env")
HEADERS = {"X-Test": "yes", "Cookie": "a=b", "Referer": "http://example.org/"}

# Set by both with the same value, but for what differs between the two requests.
SAME_VALUE = {
    "HTTP_CONNECTION", "HTTP_COOKIE", "HTTP_REFERER", "HTTP_SEC_WEBSOCKET_EXTENSIONS",
    "HTTP_SEC_WEBSOCKET_VERSION", "HTTP_UPGRADE", "HTTP_USER_AGENT", "HTTP_X_TEST", "PATH",
    "PATH_INFO", "QUERY_STRING", "REMOTE_ADDR", "REMOTE_HOST", "REQUEST_METHOD", "REQUEST_URI",
    "SCRIPT_NAME", "SERVER_PROTOCOL"}
# Set by both, with the same meaning, and another value for each session or server.
SAME_MEANING = {
    "GATEWAY_INTERFACE", "HTTP_SEC_WEBSOCKET_KEY", "REMOTE_PORT", "SERVER_NAME", "SERVER_PORT",
    "SERVER_SOFTWARE", "UNIQUE_ID"}
# Set by websocketd, always to nothing.
ONLY_WEBSOCKETD = {"AUTH_TYPE", "CONTENT_TYPE", "REMOTE_IDENT", "REMOTE_USER"}


@pytest.fixture
def both(start_lighttpd, tmp_path):
    """The WebSocket URLs of two servers that run the same programs at the same paths."""
    directory = tmp_path / "programs"
    directory.mkdir()
    names = [name + language for name in NAMES for language in LANGUAGES]
    for name in names:
        (directory / name).symlink_to(sample(name))
    ours = start_lighttpd(server_directive(
        {f"/{name}": {"bin-path": str(directory / name), "grace": 1} for name in names}),
        modules=["mod_wscgi"])
    port = free_port()
    with open(tmp_path / "websocketd.log", "w", encoding="utf-8") as log:
        theirs = subprocess.Popen(["websocketd", f"--port={port}", "--address=127.0.0.1",
                                   f"--dir={directory}"], stdout=log, stderr=log)
    wait_until_it_accepts(theirs, port)
    yield ours.url("", "ws"), f"ws://127.0.0.1:{port}"
    theirs.terminate()
    theirs.wait()


def wait_until_it_accepts(process, port):
    deadline = time.monotonic() + 15
    while True:
        with socket.socket() as probe, contextlib.suppress(ConnectionRefusedError):
            probe.connect(("127.0.0.1", port))
            return
        assert process.poll() is None and time.monotonic() < deadline, "websocketd did not start"
        time.sleep(0.01)


async def received(url, count=None):
    """The messages until the program ends, or the first so many."""
    seen = []
    with contextlib.suppress(websockets.ConnectionClosedError):  # websocketd sends no Close
        async with websockets.connect(url, extra_headers=HEADERS) as client:
            while len(seen) != count:
                try:
                    seen.append(await client.recv())
                except websockets.ConnectionClosedOK:
                    break
    return seen


@pytest.mark.parametrize("language", LANGUAGES)
def test_greeter_and_count_run_under_both(both, language):
    async def greetings(base):
        async with websockets.connect(f"{base}/greeter{language}") as client:
            seen = []
            for name in ("Ada", "", " two  spaces ", "Žofie", "x" * 50000):
                await client.send(name)
                seen.append(await client.recv())
            return seen
    ours, theirs = (asyncio.run(greetings(base)) for base in both)
    assert ours == theirs and ours[0] == "Hello, Ada!"
    ours, theirs = (asyncio.run(received(f"{base}/count{language}", 2)) for base in both)
    assert ours == theirs == ["1", "2"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_environment_has_the_same_meaning(both, language):
    path = f"/dump-env{language}/more/path?a=b&c=%20d"
    ours, theirs = (dict(line.split("=", 1) for line in asyncio.run(received(base + path)))
                    for base in both)
    for one in (ours, theirs):
        one.pop("PWD", None)  # the shell's own
    assert SAME_VALUE | SAME_MEANING <= set(ours) & set(theirs)
    assert {name: ours[name] for name in SAME_VALUE} == {name: theirs[name] for name in SAME_VALUE}
    for one, base in ((ours, both[0]), (theirs, both[1])):
        assert base.endswith(":" + one["SERVER_PORT"])
        assert all(one[name] for name in SAME_MEANING)
        assert int(one["REMOTE_PORT"]) > 0
    assert ours["UNIQUE_ID"] != theirs["UNIQUE_ID"]
    assert ours["GATEWAY_INTERFACE"] == "CGI/1.1"
    assert set(theirs) - set(ours) == ONLY_WEBSOCKETD
    assert not any(theirs[name] for name in ONLY_WEBSOCKETD)


# ---- What doc/coming-from-websocketd.md says of the two

@pytest.fixture
def pair(start_lighttpd, program, tmp_path):
    """pair(text): the URLs of both servers with this program at the root."""
    started = []

    def start(text, **options):
        path = program("p", text)
        ours = start_lighttpd(server_directive({"/": {"bin-path": path, "grace": 1, **options}}),
                              modules=["mod_wscgi"])
        port = free_port()
        with open(tmp_path / "websocketd.log", "a", encoding="utf-8") as log:
            started.append(subprocess.Popen(
                ["websocketd", f"--port={port}", "--address=127.0.0.1", path],
                stdout=log, stderr=log))
        wait_until_it_accepts(started[-1], port)
        return ours.url("/", "ws"), f"ws://127.0.0.1:{port}/"
    yield start
    for process in started:
        process.terminate()
        process.wait()


def test_the_last_line_without_newline_and_carriage_returns(pair):
    text = "#!/bin/sh\nprintf 'a\\r\\nb\\nlast'\n"
    ours, theirs = (asyncio.run(received(url)) for url in pair(text))
    assert (ours, theirs) == (["a", "b", "last"], ["a", "b"])


def test_only_here_a_close_tells_of_the_exit_status(pair):
    async def code(url):
        client = await websockets.connect(url)
        await client.wait_closed()
        return client.close_code
    ours, theirs = (asyncio.run(code(url)) for url in pair("#!/bin/sh\nexit 3\n"))
    assert (ours, theirs) == (1011, 1006)


def test_foreign_origins_are_refused_only_here(pair):
    async def opens(url):
        try:
            async with websockets.connect(url, origin="http://elsewhere.example"):
                return True
        except websockets.InvalidStatusCode as refusal:
            assert refusal.status_code == 403
            return False
    ours, theirs = (asyncio.run(opens(url)) for url in pair("#!/bin/sh\ncat\n"))
    assert (ours, theirs) == (False, True)
