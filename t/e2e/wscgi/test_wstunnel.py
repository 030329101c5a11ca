# SPDX-License-Identifier: BSD-3-Clause
"""The same daemon under lighttpd's own mod_wstunnel and under mod_wscgi, in one server: what
doc/coming-from-mod_wstunnel.md says of both."""
import asyncio
import pathlib

import pytest
import websockets
from conftest import server_directive

DAEMON = str(pathlib.Path(__file__).parent / "programs" / "echo_daemon.py")


@pytest.fixture
def server(start_lighttpd, tmp_path):
    """Each at /ws below a prefix of its own."""
    return start_lighttpd(
        server_directive({"/ours/ws": {
            "socket": str(tmp_path / "ours.sock"), "bin-path": DAEMON, "model": "daemon",
            "framing": "stream", "message-type": "text", "subprotocols": ["binary"]}})
        + f'wstunnel.server = ( "/theirs/ws" => (( "socket" => "{tmp_path}/theirs.sock", '
          f'"bin-path" => "{DAEMON}", "max-procs" => 1 )) )\nwstunnel.frame-type = "text"\n',
        modules=["mod_wscgi", "mod_wstunnel"])


def ask(server, path, **options):
    """The answer to a message, the subprotocol; or the status of the refusal."""
    async def talk():
        try:
            async with websockets.connect(server.url(path, "ws"), **options) as client:
                await client.send("hällo")
                return await client.recv(), client.subprotocol
        except websockets.InvalidStatusCode as refusal:
            return refusal.status_code
    return asyncio.run(asyncio.wait_for(talk(), 30))


def both(server, path, **options):
    return ask(server, f"/ours{path}", **options), ask(server, f"/theirs{path}", **options)


def test_a_daemon_serves_both_unchanged(server):
    assert both(server, "/ws") == (("hällo", None),) * 2
    assert both(server, "/ws/more") == (("hällo", None),) * 2


def test_the_prefix_ends_at_a_slash_only_here(server):
    assert both(server, "/wsx") == (404, ("hällo", None))


def test_foreign_origins_are_refused_only_here(server):
    assert both(server, "/ws", origin="http://elsewhere.example") == (403, ("hällo", None))
    assert both(server, "/ws", origin=server.url("")) == (("hällo", None),) * 2


def test_the_subprotocol_binary_is_agreed_on_if_configured(server):
    ours, theirs = both(server, "/ws", subprotocols=["binary"])
    assert ours == ("hällo", "binary")
    assert theirs == ("hällo".encode(), "binary")  # whatever frame-type says


def test_a_message_followed_at_once_by_close_is_answered_only_here(server):
    async def answered(path):
        async with websockets.connect(server.url(path, "ws")) as client:
            await client.send("last words")
            closing = asyncio.create_task(client.close())
            try:
                return await client.recv() == "last words"
            except websockets.ConnectionClosed:
                return False
            finally:
                await closing

    async def count(path):
        return sum([await answered(path) for _ in range(20)])
    assert asyncio.run(count("/ours/ws")) == 20
    assert asyncio.run(count("/theirs/ws")) < 20
