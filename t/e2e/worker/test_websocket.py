# SPDX-License-Identifier: BSD-3-Clause
"""WebSocket through handed-off sockets, with python3-websockets and python3-wsproto."""
import asyncio
import socket

import pytest
import websockets
import wsproto
from wsproto.events import AcceptConnection, CloseConnection, Message, Ping, Pong, Request

import samples


@pytest.mark.parametrize("sample", samples.WEBSOCKET)
@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 1_000_000])
def test_websockets_gets_its_messages_back(front, sample, size):
    one = front(sample)

    async def run():
        async with websockets.connect(one.url("/hot/echo", "ws"), max_size=None) as client:
            await client.send("x" * size)
            assert await client.recv() == "x" * size
        assert client.close_code == 1000
    asyncio.run(asyncio.wait_for(run(), 60))


@pytest.mark.parametrize("sample", samples.WEBSOCKET)
def test_wsproto_whose_first_message_follows_the_request_at_once(front, sample):
    """Bytes after the request's head are the first frames, wherever they were when the socket
    changed hands."""
    one = front(sample)
    client = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    with socket.create_connection(("127.0.0.1", one.port), timeout=20) as sock:
        sock.sendall(client.send(Request(host="t", target="/hot/echo")))
        seen = []

        def until(kind):
            while not any(isinstance(event, kind) for event in seen):
                data = sock.recv(65536)
                assert data, seen
                client.receive_data(data)
                seen.extend(client.events())
        until(AcceptConnection)
        sock.sendall(client.send(Message(data="one")) + client.send(Ping(payload=b"p")))
        until(Pong)
        sock.sendall(client.send(CloseConnection(code=1000)))
        until(CloseConnection)
    assert [m.data for m in seen if isinstance(m, Message)] == ["one"]
    assert seen[-1].code == 1000
