# SPDX-License-Identifier: BSD-3-Clause
"""The samples, as their page configures them, through a real lighttpd."""
import asyncio
import contextlib
import hashlib
import os
import re
import socket
import subprocess
import time
import urllib.request

import pytest
import websockets
from conftest import SAMPLES, server_directive

BUILT = os.environ.get("WSCGI_SAMPLES",
                       os.path.join(os.environ.get("LIGHTTPD_MODULES", ""), "../samples/wscgi"))
LANGUAGES = (".sh", ".py", ".pl", "")


def sample(name):
    """Path of a sample; one without extension is built from C."""
    path = str(SAMPLES / name) if "." in name else os.path.realpath(os.path.join(BUILT, name))
    assert os.access(path, os.X_OK), f"{path} is not there, or not executable: build first"
    return path


def connect(server, path="/ws", **options):
    return websockets.connect(server.url(path, "ws"), max_size=None, **options)


async def exchange(server, *messages):
    """Sends each, awaits one answer to each."""
    async with connect(server) as client:
        answers = []
        for message in messages:
            await client.send(message)
            answers.append(await client.recv())
        return answers


# ---- count, greeter, dump-env in four languages

@pytest.mark.parametrize("language", LANGUAGES)
def test_count_sends_each_number_when_it_is_due(serve, language):
    server = serve({"/ws": {"bin-path": sample("count" + language), "grace": 1}})

    async def talk():
        async with connect(server) as client:
            first, at = await client.recv(), time.monotonic()
            return [first, await client.recv()], time.monotonic() - at
    numbers, between = asyncio.run(talk())
    assert numbers == ["1", "2"] and between > 0.5


def test_count_ends_with_1000_after_ten(serve):
    server = serve({"/ws": {"bin-path": sample("count")}})

    async def talk():
        async with connect(server) as client:
            return [message async for message in client], client.close_code
    assert asyncio.run(talk()) == ([str(n) for n in range(1, 11)], 1000)


@pytest.mark.parametrize("language", LANGUAGES)
def test_greeter(serve, language):
    server = serve({"/ws": {"bin-path": sample("greeter" + language)}})
    assert asyncio.run(exchange(server, "Ada", "Žofie \\ $x")) == [
        "Hello, Ada!", "Hello, Žofie \\ $x!"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_dump_env(serve, language):
    server = serve({"/ws": {"bin-path": sample("dump-env" + language)}})

    async def talk():
        async with connect(server, "/ws/path?a=b") as client:
            return [message async for message in client]
    variables = dict(line.split("=", 1) for line in asyncio.run(talk()))
    assert variables["PATH_INFO"] == "/path" and variables["QUERY_STRING"] == "a=b"


# ---- Other framings

def test_ws_echo_speaks_websocket_itself(serve):
    server = serve({"/ws": {"bin-path": sample("ws_echo.py"), "framing": "websocket"}})
    assert asyncio.run(exchange(server, "text", b"\0binary", "")) == ["text", b"\0binary", ""]


def test_length_echo_keeps_kinds_and_empty_messages(serve):
    server = serve({"/ws": {"bin-path": sample("length_echo.py"), "framing": "length"}})
    messages = ["text\nof two lines", b"\0\n\xff", "", b"", "x" * 300000, os.urandom(300000)]
    assert asyncio.run(exchange(server, *messages)) == messages


def test_length_echo_takes_and_gives_close_codes(serve):
    server = serve({"/ws": {"bin-path": sample("length_echo.py"), "framing": "length"}})

    async def talk():
        client = await connect(server)
        await client.send("close 4001 good night")
        await client.wait_closed()
        other = await connect(server)
        await other.close(4321, "enough")
        return client.close_code, client.close_reason
    assert asyncio.run(talk()) == (4001, "good night")
    server.wait_for("stderr: client closed with 4321 enough")


def test_packet_digest_gets_messages_whole(serve):
    server = serve({"/ws": {"bin-path": sample("packet_digest.py"), "framing": "packet",
                            "message-type": "text"}})
    messages = ["one line", "two\nlines", b"\0\xff", os.urandom(180 * 1024)]
    digests = [hashlib.sha256(one.encode() if isinstance(one, str) else one).hexdigest()
               for one in messages]
    assert asyncio.run(exchange(server, *messages)) == digests


# ---- Daemons

PERL = {"model": "daemon", "framing": "stream", "message-type": "text"}


def test_echo_pl_serves_one_client_after_the_other(serve):
    server = serve({"/ws": {**PERL, "bin-path": sample("echo.pl")}})
    for word in ("one", "two", "three"):
        assert asyncio.run(exchange(server, word, word * 2)) == [word, word * 2]
    assert len(server.children()) == 1


def test_echo_pl_serves_as_many_as_there_are_processes(serve):
    server = serve({"/ws": {**PERL, "bin-path": sample("echo.pl"), "max-procs": 2}})

    async def talk():
        async with connect(server) as one, connect(server) as other:
            for client in (one, other):
                await client.send("hello")
                assert await client.recv() == "hello"
    asyncio.run(talk())


def test_echo_incremental_serves_many_at_once(serve):
    server = serve({"/ws": {**PERL, "bin-path": sample("echo-incremental.pl")}})

    async def talk():
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(connect(server)) for _ in range(50)]
            for number, client in enumerate(clients):
                await client.send(f"hello {number}")
            for number, client in enumerate(clients):
                assert await client.recv() == f"hello {number}"
    asyncio.run(talk())
    assert len(server.children()) == 1


def test_echo_incremental_goes_on_beside_a_client_that_does_not_read(serve):
    server = serve({"/ws": {**PERL, "bin-path": sample("echo-incremental.pl"), "grace": 1}})
    much = "x" * (16 << 20)

    async def talk():
        lazy = await connect(server, max_queue=1)
        sending = asyncio.create_task(lazy.send(much))
        lazy.transport.pause_reading()
        assert await echo_of("hello") == "hello"
        assert not sending.done()  # too much is on the way: the sender is held back
        lazy.transport.resume_reading()
        seen = 0
        while seen < len(much):
            seen += len(await lazy.recv())
        await sending
        await lazy.close()

    async def echo_of(message):
        async with connect(server) as client:
            await client.send(message)
            return await client.recv()
    asyncio.run(talk())


def test_prefork_starts_python_once_for_all_sessions(serve):
    server = serve({"/ws": {"model": "daemon", "bin-path": sample("prefork.py"),
                            "bin-environment": {"WORKERS": "3"}}})
    server.wait_until(lambda: len(server.children()) == 4, "a parent and three workers")

    async def talk():
        async with contextlib.AsyncExitStack() as stack:  # more sessions than workers
            clients = [await stack.enter_async_context(connect(server)) for _ in range(20)]
            for client in clients:
                await client.send("žluť")
            return [await client.recv() for client in clients]
    answers = asyncio.run(talk())
    assert all(answer.endswith(": žluť") for answer in answers)
    assert {int(answer.split(":")[0]) for answer in answers} <= set(server.children())
    assert len(server.children()) == 4


def test_prefork_replaces_a_worker_that_dies(serve):
    server = serve({"/ws": {"model": "daemon", "bin-path": sample("prefork.py"),
                            "bin-environment": {"WORKERS": "1"}}})
    pid = int(asyncio.run(exchange(server, "x"))[0].split(":")[0])
    os.kill(pid, 9)
    server.wait_for(f"worker {pid} ended with status 9")
    assert int(asyncio.run(exchange(server, "x"))[0].split(":")[0]) != pid


# ---- Shared programs

def test_live_log_reaches_all_and_follows_rotation(serve, tmp_path):
    log = tmp_path / "some.log"
    log.write_text("old line\n")
    server = serve({"/live-log": {"bin-path": sample("live-log.sh"), "model": "shared",
                                  "bin-environment": {"LOG": str(log)}}})

    def append(line):
        with open(log, "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def tail_runs():
        return any("tail" in open(f"/proc/{pid}/cmdline").read() for pid in server.children())

    async def talk():
        async with connect(server, "/live-log") as one, connect(server, "/live-log") as two:
            server.wait_until(lambda: tail_runs() and has_open(server, log), "tail to look")
            append("first")
            assert [await one.recv(), await two.recv()] == ["first", "first"]
            assert len(server.children()) == 1
            log.rename(tmp_path / "some.log.1")
            log.touch()
            append("after rotation")
            assert [await one.recv(), await two.recv()] == ["after rotation"] * 2
    asyncio.run(talk())


def has_open(server, path):
    return any(os.path.realpath(f"/proc/{pid}/fd/{fd}") == str(path)
               for pid in server.children() for fd in os.listdir(f"/proc/{pid}/fd"))


def test_nobody_can_stop_the_live_log_by_talking_to_it(serve, tmp_path):
    log = tmp_path / "some.log"
    log.touch()
    server = serve({"/live-log": {"bin-path": sample("live-log.sh"), "model": "shared",
                                  "bin-environment": {"LOG": str(log)}}})

    async def talk():
        async with connect(server, "/live-log") as chatty, connect(server, "/live-log") as quiet:
            for _ in range(100):
                await chatty.send("x" * 65536)
            await (await chatty.ping())
            await (await quiet.ping())
            server.wait_until(lambda: has_open(server, log), "tail to look")
            log.write_text("line\n")
            assert [await chatty.recv(), await quiet.recv()] == ["line", "line"]
    asyncio.run(talk())


def test_the_page_of_the_live_log_finds_its_endpoint(start_lighttpd, tmp_path):
    log = tmp_path / "some.log"
    server = start_lighttpd(
        server_directive({"/live-log": {"bin-path": sample("live-log.sh"), "model": "shared",
                                        "bin-environment": {"LOG": str(log)}}})
        + f'alias.url = ( "/page/" => "{SAMPLES}/" )\n'
        + 'mimetype.assign = ( ".html" => "text/html" )\n',
        modules=["mod_wscgi", "mod_alias"])
    with urllib.request.urlopen(server.url("/page/live-log.html")) as response:
        assert response.headers["Content-Type"] == "text/html"
        page = response.read().decode()
    assert re.search(r'new URL\("live-log", location\.href', page)


@pytest.fixture
def redis_url(tmp_path):
    """A Redis server of the test's own, on a unix socket, that keeps nothing on disk."""
    path = str(tmp_path / "redis.sock")
    process = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", path, "--save", "",
                                "--appendonly", "no", "--dir", tmp_path],
                               stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 15
    while not answers_ping(path):
        assert process.poll() is None and time.monotonic() < deadline, "redis-server did not start"
        time.sleep(0.01)
    yield f"unix://{path}"
    process.terminate()
    process.wait()


def answers_ping(path):
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.connect(path)
        probe.sendall(b"PING\r\n")
        return probe.recv(16).startswith(b"+PONG")
    return False


def test_chat_connects_the_sessions_of_two_servers(serve, redis_url):
    endpoint = {"/ws": {"bin-path": sample("chat.py"), "model": "shared",
                        "bin-environment": {"REDIS_URL": redis_url}}}
    one, other = serve(endpoint), serve(endpoint)

    async def talk():
        async with contextlib.AsyncExitStack() as stack:
            here = await stack.enter_async_context(connect(one))
            there = await stack.enter_async_context(connect(other))
            for client in (here, there):
                assert await client.recv() == "You are in lobby."
            third = await stack.enter_async_context(connect(other))
            await here.send("Grüße von hier")
            await assert_all_get("Grüße von hier", here, there, third)
            await there.send("and from there")
            await assert_all_get("and from there", here, there, third)
            assert len(one.children()) == len(other.children()) == 1

    async def assert_all_get(message, *clients):
        assert [await client.recv() for client in clients] == [message] * len(clients)
    asyncio.run(talk())


def test_chat_without_redis_closes_with_1011_and_says_why(serve, tmp_path):
    server = serve({"/ws": {"bin-path": sample("chat.py"), "model": "shared",
                            "bin-environment": {"REDIS_URL": f"unix://{tmp_path}/nobody"}}})

    async def talk():
        async with connect(server) as client:
            with pytest.raises(websockets.ConnectionClosedError):
                await client.recv()
            return client.close_code
    assert asyncio.run(talk()) == 1011
    server.wait_for("stderr: Redis at unix://.*nobody: .*No such file")
