# SPDX-License-Identifier: BSD-3-Clause
"""What doc/coming-from-websocketd.md and doc/coming-from-mod_wstunnel.md say of mod_wscgi alone;
what they compare is in test_websocketd.py and test_wstunnel.py."""
import asyncio
import base64
import subprocess
import time

import pytest
import websockets
from conftest import server_directive
from http2_client import Connection
from test_bad_input import UPGRADE, RawClient, converse, frame, request
from test_framings import DAEMON, collect
from test_http2 import H2C

CAT = {"bin-path": "/bin/cat"}
ENV = {"bin-path": "/usr/bin/env"}


def variables(server, path="/ws", **options):
    async def talk():
        async with websockets.connect(server.url(path, "ws"), **options) as client:
            return dict([message.split("=", 1) async for message in client])
    return asyncio.run(talk())


# ---- Coming from websocketd

def test_only_path_and_what_is_named_is_copied_from_the_servers_environment(start_lighttpd):
    mine = {"ONE": "1", "TWO": "2", "LD_LIBRARY_PATH": "/nowhere"}
    server = start_lighttpd(
        server_directive({"/ws": {**ENV, "bin-copy-environment": ["ONE", "ABSENT"]}, "/none": ENV}),
        modules=["mod_wscgi"], environment=mine)
    seen = variables(server)
    assert seen["ONE"] == "1" and seen["PATH"] == server.environment["PATH"]
    assert not seen.keys() & {"TWO", "LD_LIBRARY_PATH", "ABSENT", "HOME"}
    assert not variables(server, "/none").keys() & {*mine, "HOME"}


def test_a_directory_of_programs_below_a_prefix(start_lighttpd, program, tmp_path):
    """--dir: wscgi.assign with alias.url."""
    program("where.sh", "#!/bin/sh\necho $SCRIPT_NAME $PATH_INFO\npwd\n")
    server = start_lighttpd(
        f'wscgi.assign = ( ".sh" => "", ".py" => "" )\nalias.url = ( "/run/" => "{tmp_path}/" )\n',
        modules=["mod_wscgi", "mod_alias"])
    assert converse(server, "/run/where.sh/a/b") == (["/run/where.sh /a/b", str(tmp_path)], 1000)


@pytest.mark.parametrize("version", [1, 2])
def test_fields_of_mod_setenv_are_in_the_answer(start_lighttpd, version):
    """--header-ws"""
    server = start_lighttpd(
        server_directive({"/ws": CAT, "/other": CAT}) + H2C +
        '$HTTP["url"] =~ "^/ws" { setenv.add-response-header = ( "X-Ours" => "yes" ) }\n',
        modules=["mod_setenv", "mod_wscgi"])

    async def fields(path):
        if version == 1:
            async with websockets.connect(server.url(path, "ws")) as client:
                return client.response_headers
        async with Connection.open(server) as connection:
            return (await connection.websocket(path)).headers
    assert asyncio.run(fields("/ws")).get("x-ours") == "yes"
    assert asyncio.run(fields("/other")).get("x-ours") is None


def test_variables_that_websocketd_has_otherwise_or_not_at_all(start_lighttpd, tmp_path):
    (tmp_path / "users").write_text("ada:secret\n")
    server = start_lighttpd(
        server_directive({"/ws": ENV, "/private": ENV}) +
        f'auth.backend = "plain"\nauth.backend.plain.userfile = "{tmp_path}/users"\n'
        '$HTTP["url"] =~ "^/private" { auth.require = ( "" => ( "method" => "basic", '
        '"realm" => "r", "require" => "valid-user" ) ) }\n',
        modules=["mod_wscgi", "mod_auth", "mod_authn_file"])
    plain, below = variables(server), variables(server, "/ws/a/b")
    ada = "Basic " + base64.b64encode(b"ada:secret").decode()
    private = variables(server, "/private", extra_headers={"Authorization": ada})
    assert plain["CONTENT_LENGTH"] == "0" and plain["HTTP_HOST"] == f"127.0.0.1:{server.port}"
    assert "PATH_TRANSLATED" not in plain
    assert below["PATH_TRANSLATED"] == f"{server.root}/a/b"
    assert not plain.keys() & {"AUTH_TYPE", "REMOTE_USER", "CONTENT_TYPE", "REMOTE_IDENT"}
    assert (private["AUTH_TYPE"], private["REMOTE_USER"]) == ("Basic", "ada")
    assert plain.items() >= {"DOCUMENT_ROOT": str(server.root), "SERVER_ADDR": "127.0.0.1",
                             "REQUEST_SCHEME": "http", "REDIRECT_STATUS": "200"}.items()
    assert "SCRIPT_FILENAME" in plain
    assert len(bytes.fromhex(plain["UNIQUE_ID"])) == 16 and plain["UNIQUE_ID"] != below["UNIQUE_ID"]
    with RawClient(server, request("/private")) as client:  # and no program without the password
        assert client.status == 401 and not server.children()


def test_arguments_may_hold_blanks(serve):
    server = serve({"/ws": {"bin-path": "/usr/bin/printf %s\\n a", "arguments": ["b c", ""]}})
    assert converse(server) == (["a", "b c", ""], 1000)


def test_the_whole_group_has_the_grace_from_the_end_of_input_to_sigterm(serve, program, tmp_path):
    log = tmp_path / "log"
    path = program("p", f"""#!/bin/bash
trap 'date "+child %s.%N" >>{log}; wait; exit' TERM
(trap 'date "+grandchild %s.%N" >>{log}; exit' TERM; echo ready; while :; do sleep 0.05; done) &
while read -r line; do :; done
date "+end %s.%N" >>{log}
while :; do sleep 0.05; done
""")
    server = serve({"/ws": {"bin-path": path, "grace": 3}})
    with RawClient(server, request()) as client:
        assert client.read_frame() == (0x81, b"ready")
        client.send(frame(b"\x03\xe8", opcode=8))
        assert client.read_close() == 1000
    server.wait_until(lambda: not server.children(), "the programs to end")
    times = {who: float(when) for who, when in map(str.split, log.read_text().splitlines())}
    assert times.keys() == {"end", "child", "grandchild"}
    assert all(1.9 < times[who] - times["end"] < 5 for who in ("child", "grandchild"))


# ---- Coming from mod_wstunnel

def test_a_stream_is_of_binary_messages_unless_told_otherwise(serve):
    server = serve({"/ws": {**CAT, "framing": "stream"},
                    "/daemon": {**DAEMON, "framing": "stream"}})

    async def talk(path):
        async with websockets.connect(server.url(path, "ws")) as client:
            await client.send("text")
            return await client.recv()
    assert asyncio.run(talk("/ws")) == asyncio.run(talk("/daemon")) == b"text"


@pytest.mark.parametrize("model", [CAT, DAEMON], ids=["session", "daemon"])
@pytest.mark.parametrize("version", [1, 2])
def test_a_stream_of_text_is_cut_between_characters_only(serve, model, version):
    """The client would refuse a message that begins or ends within one."""
    server = serve({"/ws": {**model, "framing": "stream", "message-type": "text"}}, H2C)
    text = ("€" * 7 + "ä𝄞b") * 80000  # 2 MB in UTF-8

    async def receive(client):
        size = len(text)
        return await collect(client, size)

    async def talk():
        if version == 1:
            async with websockets.connect(server.url("/ws", "ws"), max_size=None) as client:
                sending = asyncio.create_task(client.send(text))
                answer = await receive(client)
                await sending
                return answer
        async with Connection.open(server, window=1 << 20) as connection:
            stream = await connection.websocket("/ws")
            sending = asyncio.create_task(stream.send(text))
            answer = await receive(stream)
            await sending
            return answer
    assert asyncio.run(asyncio.wait_for(talk(), 60)) == text


LISTED = ["https://example.org", "http://other.example:8080"]


@pytest.mark.parametrize("origins, origin, status", [
    (LISTED, "https://example.org", 101), (LISTED, "https://EXAMPLE.org", 101),
    (LISTED, "http://other.example:8080", 101), (LISTED, None, 101),
    (LISTED, "http://example.org", 403), (LISTED, "https://www.example.org", 403),
    (LISTED, "https://example.org:444", 403), (LISTED, "http://other.example", 403),
    (LISTED, "https://example.org.evil.example", 403), (LISTED, "null", 403),
    (LISTED, "http://localhost", 101),  # the request's own host
    (["*"], "https://anything.example", 101), (["*"], "null", 101), (["*"], None, 101),
    ([], "http://LOCALHOST", 101), ([], "http://localhost.", 403)])
def test_origins_are_compared_whole_and_without_regard_to_capitals(serve, origins, origin, status):
    server = serve({"/ws": {**CAT, **({"origins": origins} if origins else {})}})
    lines = [*UPGRADE, *([f"Origin: {origin}"] if origin else [])]
    with RawClient(server, request(lines=lines)) as client:
        assert client.status == status
    assert status == 101 or "spawn" not in server.log_text()


def test_a_subprotocol_that_is_not_configured_is_not_agreed_on(serve):
    server = serve({"/ws": CAT, "/daemon": {**DAEMON, "framing": "stream"}})

    async def talk(path):
        async with websockets.connect(server.url(path, "ws"),
                                      subprotocols=["binary", "base64"]) as client:
            return client.response_headers.get_all("Sec-WebSocket-Protocol")
    assert asyncio.run(talk("/ws")) == asyncio.run(talk("/daemon")) == []


def test_a_program_and_a_host_contradict_each_other(make_lighttpd):
    checked = make_lighttpd(server_directive({"/ws": {**DAEMON, "host": "127.0.0.1:1"}}),
                            modules=["mod_wscgi"]).check_config()
    assert checked.returncode != 0 and '"host"' in checked.stderr


def test_what_a_daemon_prints_is_in_the_error_log(serve, program):
    path = program("p", """#!/usr/bin/python3
import socket, sys
print("to stdout", flush=True)
print("to stderr", file=sys.stderr, flush=True)
while True:
    socket.socket(fileno=0).accept()[0].close()
""")
    server = serve({"/ws": {"model": "daemon", "bin-path": path}})
    for text in ("to stdout", "to stderr"):
        server.wait_for(rf"wscgi /ws daemon \d+: {text}$")


def test_a_daemon_answers_after_the_end_of_its_input_and_the_client_is_waited_for(serve, program):
    """Its closing is a Close with 1000, and the client's answer is awaited for close-timeout."""
    path = program("p", """#!/usr/bin/python3
import socket
listening = socket.socket(fileno=0)
while True:
    with listening.accept()[0] as connection:
        count = 0
        while data := connection.recv(4096):
            count += len(data)
            if data.endswith(b"end\\n"):
                break
        connection.sendall(b"%d bytes\\n" % count)
""")
    server = serve({"/ws": {"model": "daemon", "bin-path": path, "close-timeout": 2}})
    with RawClient(server, request()) as client:
        client.send(frame(b"hello") + frame(b"\x03\xe8", opcode=8))
        assert client.read_frame() == (0x81, b"6 bytes")
        assert client.read_close() == 1000
    with RawClient(server, request()) as client:
        client.send(frame(b"end"))
        assert client.read_frame() == (0x81, b"4 bytes")
        assert client.read_close() == 1000
        began = time.monotonic()
        assert client.reader.read() == b""  # it does not answer
        assert 0.9 < time.monotonic() - began < 6


def test_a_session_outlives_the_idle_timeouts_of_requests(serve):
    server = serve({"/ws": CAT, "/daemon": {**DAEMON, "framing": "lines", "arguments": ["lines"]}},
                   "server.max-read-idle = 1\nserver.max-write-idle = 1\n"
                   "server.max-keep-alive-idle = 1\n")

    async def talk(path):
        async with websockets.connect(server.url(path, "ws"), ping_interval=None) as client:
            await asyncio.sleep(4)  # silence is what is tested
            await client.send("still here")
            return await client.recv()

    async def both():
        return await asyncio.gather(talk("/ws"), talk("/daemon"))
    assert asyncio.run(both()) == ["still here"] * 2


# ---- Both

def test_a_program_that_may_no_longer_be_executed_is_an_internal_error(serve, program, tmp_path):
    server = serve({"/ws": {"bin-path": program("p", "#!/bin/sh\n")}})
    (tmp_path / "p").chmod(0o644)
    with RawClient(server, request()) as client:
        assert client.status == 500
    server.wait_for("Permission denied")
    assert not server.children()


def test_the_redirection_of_the_page_works(start_lighttpd):
    """--redirport: url.redirect in a socket of its own."""
    from lighttpd import free_port
    port = free_port()
    server = start_lighttpd(
        server_directive({"/": CAT}) + f'$SERVER["socket"] == "127.0.0.1:{port}" {{ url.redirect = '
        '( "" => "https://${url.authority}${url.path}${qsa}" ) }\n',
        modules=["mod_redirect", "mod_wscgi"])
    done = subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}",
                           f"http://127.0.0.1:{port}/x"], capture_output=True, text=True,
                          check=True)
    assert done.stdout == "301"
    assert converse_once(server) == "hello"


def converse_once(server):
    with RawClient(server, request("/")) as client:
        client.send(frame(b"hello"))
        return client.read_frame()[1].decode()
