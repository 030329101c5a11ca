# SPDX-License-Identifier: BSD-3-Clause
"""What is refused: by the configuration at start, by the handshake, by rule while it runs."""
import asyncio
import socket

import pytest
import websockets
from conftest import server_directive

CAT = {"bin-path": "/bin/cat"}
UPGRADE = ["Host: localhost", "Upgrade: websocket", "Connection: Upgrade",
           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"]


@pytest.mark.parametrize("endpoint, words", [
    ({**CAT, "framing": "linez"}, ["wscgi.server", "/ws", "framing", "linez", "lines"]),
    ({**CAT, "max-sessions": 0}, ["max-sessions", "0", "256"]),
    ({**CAT, "ping-interval": "soon"}, ["ping-interval", "soon"]),
    ({**CAT, "colour": "blue"}, ["colour", "unknown option", "framing"]),
    ({}, ["bin-path", "missing"]),
    ({"bin-path": "/no/such/program"}, ["bin-path", "/no/such/program", "No such file"]),
    ({"bin-path": "/etc/passwd"}, ["bin-path", "/etc/passwd", "chmod"]),
    ({"bin-path": "cat"}, ["bin-path", "absolute"]),
    ({**CAT, "working-directory": "/no/such"}, ["working-directory", "/no/such"]),
], ids=lambda value: "-".join(value) if isinstance(value, dict) else "")
def test_a_bad_configuration_stops_the_server_at_start(make_lighttpd, endpoint, words):
    server = make_lighttpd(server_directive({"/ws": endpoint}), modules=["mod_wscgi"])
    checked = server.check_config()
    assert checked.returncode != 0
    for word in words:
        assert word in checked.stderr + checked.stdout, f"{word!r} is not in the message"
    with pytest.raises(AssertionError, match="did not start"):
        server.start()


def test_a_good_configuration_passes_the_check(make_lighttpd):
    assert make_lighttpd(server_directive({"/ws": CAT}),
                         modules=["mod_wscgi"]).check_config().returncode == 0


def request(server, lines, path="/ws", method="GET", version="1.1", body=b""):
    """Sends a request and returns the status and the header fields of the response."""
    text = "\r\n".join([f"{method} {path} HTTP/{version}", *lines, "", ""])
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(text.encode() + body)
        reader = client.makefile("rb")
        status = int(reader.readline().split()[1])
        fields = {}
        while line := reader.readline().strip():
            name, _, value = line.decode().partition(":")
            fields[name.lower()] = value.strip()
        return status, fields


def without(name):
    return [line for line in UPGRADE if not line.startswith(name)]


@pytest.mark.parametrize("lines, status", [
    (UPGRADE, 101),
    ([*UPGRADE, "Origin: http://localhost"], 101),
    ([*UPGRADE, "Origin: http://evil.example"], 403),
    ([*UPGRADE, "Origin: null"], 403),
    ([*without("Sec-WebSocket-Version"), "Sec-WebSocket-Version: 12"], 426),
    (without("Sec-WebSocket-Version"), 400),
    (without("Sec-WebSocket-Key"), 400),
    ([*without("Sec-WebSocket-Key"), "Sec-WebSocket-Key: short"], 400),
    ([*UPGRADE, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="], 400),
    ([*UPGRADE, "X-A: 1", "X_A: 2"], 400),
    (without("Upgrade"), 404),
])
def test_handshakes_are_accepted_and_refused_with_the_right_status(serve, lines, status):
    server = serve({"/ws": CAT}, 'server.http-parseopts = ( "header-strict" => "disable" )\n')
    assert request(server, lines)[0] == status
    if status != 101:
        assert not server.children()


def test_an_upgrade_that_the_connection_field_does_not_name_is_none(serve):
    # Newer versions of lighttpd take the Upgrade field away before a module sees it.
    assert request(serve({"/ws": CAT}), without("Connection"))[0] in (400, 404)


def test_a_wrong_version_is_told_the_right_one(serve):
    server = serve({"/ws": CAT})
    lines = [*without("Sec-WebSocket-Version"), "Sec-WebSocket-Version: 8"]
    status, fields = request(server, lines)
    assert (status, fields["sec-websocket-version"]) == (426, "13")


def test_sessions_beyond_the_limit_are_refused(serve):
    server = serve({"/ws": {**CAT, "max-sessions": 2}})

    async def talk():
        clients = [await websockets.connect(server.url("/ws", "ws")) for _ in range(2)]
        assert request(server, UPGRADE)[0] == 503
        await clients[0].close()
        server.wait_until(lambda: len(server.children()) == 1, "one session to end")
        clients[0] = await websockets.connect(server.url("/ws", "ws"))
        for client in clients:
            await client.close()
    asyncio.run(talk())


def test_a_program_refuses_before_the_upgrade(serve, program):
    path = program("p", "#!/bin/sh\nprintf 'Status: 403\\nX-Why: no\\n\\n'\n")
    server = serve({"/ws": {"bin-path": path, "framing": "websocket"}})
    status, fields = request(server, UPGRADE)
    assert (status, fields["x-why"]) == (403, "no")


@pytest.mark.parametrize("text", ["exit 0", "echo hello", "printf 'Status: 101'",
                                  "head -c 100000 /dev/zero | tr '\\0' x"])
def test_a_program_that_answers_no_header_is_a_bad_gateway(serve, program, text):
    path = program("p", f"#!/bin/sh\n{text}\n")
    server = serve({"/ws": {"bin-path": path, "framing": "websocket"}})
    assert request(server, UPGRADE)[0] == 502
    server.wait_for("refused with 502")


def test_a_program_that_answers_nothing_times_out(serve, program):
    path = program("p", "#!/bin/sh\nexec sleep 300\n")
    server = serve({"/ws": {"bin-path": path, "framing": "websocket", "handshake-timeout": 1,
                            "grace": 1}})
    assert request(server, UPGRADE)[0] == 504
    server.wait_until(lambda: not server.children(), "the program to end")


def test_a_program_that_has_vanished_is_an_internal_error(serve, program, tmp_path):
    path = program("p", "#!/bin/sh\n")
    server = serve({"/ws": {"bin-path": path}})
    (tmp_path / "p").unlink()
    assert request(server, UPGRADE)[0] == 500
    server.wait_for("execve .*No such file")


@pytest.mark.parametrize("output, code", [("'\\377\\n'", 1011), ("'ok\\n'", 1000)])
def test_text_that_is_not_utf8_does_not_reach_the_client(serve, program, output, code):
    server = serve({"/ws": {"bin-path": program("p", f"#!/bin/sh\nprintf {output}\n")}})

    async def talk():
        async with websockets.connect(server.url("/ws", "ws")) as client:
            async for _ in client:
                pass
            return client.close_code
    try:
        assert asyncio.run(talk()) == code
    except websockets.ConnectionClosedError as closed:
        assert closed.rcvd.code == code


def test_binary_messages_are_refused_where_lines_are_text(serve):
    server = serve({"/text": CAT, "/binary": {**CAT, "message-type": "binary"}})

    async def talk(path):
        async with websockets.connect(server.url(path, "ws")) as client:
            await client.send(b"\x00\xff")
            return await client.recv()
    with pytest.raises(websockets.ConnectionClosedError) as closed:
        asyncio.run(talk("/text"))
    assert closed.value.rcvd.code == 1003
    assert asyncio.run(talk("/binary")) == b"\x00\xff"


def test_a_client_that_breaks_the_protocol_is_told_so(serve):
    server = serve({"/ws": CAT})
    text = "\r\n".join(["GET /ws HTTP/1.1", *UPGRADE, "", ""]).encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(text + b"\x81\x05hello")  # not masked
        answer = b""
        while piece := client.recv(4096):
            answer += piece
    assert b"\r\n\r\n\x88" in answer
    assert answer.split(b"\r\n\r\n", 1)[1][2:4] == (1002).to_bytes(2, "big")
    server.wait_until(lambda: not server.children(), "the program to end")


def test_a_refusal_after_the_handshake_was_judged_is_no_upgrade(serve, program):
    path = program("p", "#!/bin/sh\nprintf 'Status: 403\\n\\n'\n")
    server = serve({"/limit": {**CAT, "max-per-address": 1},
                    "/headers": {"bin-path": path, "headers": "enable"}})

    async def talk():
        async with websockets.connect(server.url("/limit", "ws")):
            return request(server, UPGRADE, "/limit")
    for status, (seen, fields) in ((429, asyncio.run(talk())),
                                   (403, request(server, UPGRADE, "/headers"))):
        assert seen == status
        assert not {"upgrade", "sec-websocket-accept"} & set(fields)


def test_a_configured_variable_is_no_collision(serve):
    server = serve({"/ws": {"bin-path": "/usr/bin/env",
                            "bin-environment": {"HTTP_USER_AGENT": "ours"}}})

    async def talk():
        async with websockets.connect(server.url("/ws", "ws"), user_agent_header="theirs") as client:
            return [message async for message in client]
    assert "HTTP_USER_AGENT=ours" in asyncio.run(talk())


@pytest.mark.parametrize("first", ["mod_access", "mod_wscgi"])
def test_access_is_denied_whatever_the_order_of_the_modules(start_lighttpd, first):
    modules = [first, *{"mod_access", "mod_wscgi"} - {first}]
    server = start_lighttpd(server_directive({"/ws": CAT}) +
                            '$HTTP["url"] =~ "^/ws/no" { url.access-deny = ( "" ) }\n',
                            modules=modules)
    assert request(server, UPGRADE, "/ws/no")[0] == 403
    assert request(server, UPGRADE, "/ws/yes")[0] == 101
