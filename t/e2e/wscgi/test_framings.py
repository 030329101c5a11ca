# SPDX-License-Identifier: BSD-3-Clause
"""Every framing, in every model that has it: messages come back whole, and what is special to each."""
import asyncio
import contextlib
import pathlib
import random

import pytest
import websockets

PROGRAMS = pathlib.Path(__file__).parent / "programs"
ECHO = {
    "lines": {"bin-path": "/bin/cat"},
    "stream": {"bin-path": "/bin/cat", "framing": "stream"},
    "packet": {"bin-path": str(PROGRAMS / "echo_packets.py"), "framing": "packet"},
    "length": {"bin-path": "/bin/cat", "framing": "length"},
}
DAEMON = {"model": "daemon", "bin-path": str(PROGRAMS / "echo_daemon.py")}
# The daemon echoes bytes: it does for every framing of bytes. Packets need a socket of packets.
ECHO |= {f"daemon {framing}": {**DAEMON, "framing": framing, "arguments": [framing]}
         for framing in ("lines", "stream", "packet", "length")}


def connect(server, path="/ws", **options):
    return websockets.connect(server.url(path, "ws"), max_size=None, **options)


async def collect(client, size):
    """Messages until they have `size` bytes: a stream has no boundaries."""
    pieces = []
    while sum(map(len, pieces)) < size:
        pieces.append(await client.recv())
    return type(pieces[0])().join(pieces)


@pytest.mark.parametrize("name", ECHO)
@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_messages_of_every_length_come_back_whole(serve, name, binary):
    kind = {} if "length" in name else {"message-type": "binary" if binary else "text"}
    server = serve({"/ws": {**ECHO[name], **kind}})

    async def talk():
        async with connect(server) as client:
            for size in [*range(1, 300, 7), 4095, 4096, 16383, 16384, 65535, 65536, 70000]:
                text = ("äb€c0" * (size // 5 + 1))[:size]
                message = text.encode() if binary else text
                await client.send(message)
                if "stream" in name:
                    assert await collect(client, len(message)) == message
                else:
                    assert await client.recv() == message
    asyncio.run(talk())


@pytest.mark.parametrize("name", [name for name in ECHO if "packet" not in name])
def test_large_messages_and_many_in_flight(serve, name):
    kind = {} if "length" in name else {"message-type": "text"}
    server = serve({"/ws": {**ECHO[name], **kind}})
    messages = ["0123456789abcde " * (1 << 16)] * 3

    async def talk():
        async with connect(server) as client:
            async def send():
                for message in messages:
                    await client.send(message)
            sender = asyncio.create_task(send())
            if "stream" in name:
                assert await collect(client, 3 << 20) == "".join(messages)
            else:
                assert [await client.recv() for _ in messages] == messages
            await sender
    asyncio.run(talk())


@pytest.mark.parametrize("name", ["length", "lines"])
def test_empty_messages_come_back(serve, name):
    server = serve({"/ws": ECHO[name]})

    async def talk():
        async with connect(server) as client:
            await client.send("")
            assert await client.recv() == ""
    asyncio.run(talk())


def test_length_keeps_text_and_binary_apart(serve):
    server = serve({"/ws": ECHO["length"]})

    async def talk():
        async with connect(server) as client:
            for message in ("text", b"\x00binary\xff", "", b""):
                await client.send(message)
                assert await client.recv() == message
    asyncio.run(talk())


@pytest.mark.parametrize("record, code, reason", [
    (b"C\0\0\0\5\x0f\xa0bye", 4000, "bye"),
    (b"C\0\0\0\0", 1005, ""),
    (b"C\0\0\0\2\x03\xed", 1011, None),  # 1005 must not be sent
    (b"X\0\0\0\0", 1011, None),
    (b"T\0\0\0\5he", 1011, None),
    (b"C\0\0\1\0" + b"x" * 256, 1011, None),
])
def test_length_closes_with_the_programs_code(serve, program, record, code, reason):
    octal = "".join(f"\\{byte:03o}" for byte in record)
    server = serve({"/ws": {"bin-path": program("p", f"#!/bin/sh\nprintf '{octal}'\n"),
                            "framing": "length"}})

    async def talk():
        async with connect(server) as client:
            with contextlib.suppress(websockets.ConnectionClosed):
                await client.recv()
            return client.close_code, client.close_reason
    seen = asyncio.run(talk())
    assert seen[0] == code
    assert reason is None or seen[1] == reason


def test_length_tells_the_program_how_the_client_closed(serve, program, tmp_path):
    log = tmp_path / "seen"
    server = serve({"/ws": {"bin-path": program("p", f"#!/bin/sh\ncat > {log}\n"),
                            "framing": "length"}})

    async def talk():
        client = await connect(server)
        await client.close(4001, "done")
    asyncio.run(talk())
    server.wait_until(lambda: log.exists() and log.read_bytes() == b"C\0\0\0\6\x0f\xa1done",
                      "the program to see the close")


def test_compression_is_agreed_and_used(serve):
    server = serve({"/ws": {**ECHO["lines"], "deflate": "enable"}, "/plain": ECHO["lines"]})
    message = "compress me " * 5000

    async def talk(path):
        async with connect(server, path, compression="deflate") as client:
            received = 0
            original = client.data_received

            def count(data):
                nonlocal received
                received += len(data)
                original(data)
            client.transport.set_protocol(client)
            client.data_received = count
            names = [extension.name for extension in client.extensions]
            for size in (0, 1, 63, 64, 1000, 60000):
                await client.send(message[:size])
                assert await client.recv() == message[:size]
            return names, received
    names, compressed = asyncio.run(talk("/ws"))
    assert names == ["permessage-deflate"]
    assert asyncio.run(talk("/plain"))[0] == []
    assert compressed < 10000


def test_compressed_messages_come_back_whole(serve):
    server = serve({"/ws": {**ECHO["lines"], "deflate": "enable"}})
    generator = random.Random(1)

    async def talk():
        async with connect(server, compression="deflate") as client:
            for size in (64, 1000, 20000, 70000, 300000):
                message = "".join(chr(generator.randrange(32, 0x500)) for _ in range(size))
                await client.send(message)
                assert await client.recv() == message
    asyncio.run(talk())


@pytest.mark.parametrize("framing", ["lines", "stream", "length"])
def test_a_program_with_headers_decides_and_adds_fields(serve, program, framing):
    path = program("p", "#!/bin/sh\ncase $QUERY_STRING in no) printf 'Status: 403\\n\\n'; exit ;; "
                        "esac\nprintf 'Set-Cookie: a=1\\nSet-Cookie: b=2\\n\\n'\nexec cat\n")
    kind = {} if framing == "length" else {"message-type": "text"}
    server = serve({"/ws": {"bin-path": path, "framing": framing, "headers": "enable", **kind}})

    async def talk():
        async with connect(server) as client:
            await client.send("hello")
            return client.response_headers.get_all("Set-Cookie"), await client.recv()
    assert asyncio.run(talk()) == (["a=1", "b=2"], "hello")

    async def refused():
        await connect(server, "/ws?no")
    with pytest.raises(websockets.InvalidStatusCode) as refusal:
        asyncio.run(refused())
    assert refusal.value.status_code == 403


def test_subprotocols_are_chosen_by_the_servers_preference(serve):
    server = serve({"/ws": {"bin-path": "/usr/bin/env", "subprotocols": ["b", "a"]}})

    async def talk(wanted):
        async with connect(server, subprotocols=wanted) as client:
            variables = [message async for message in client]
            return client.subprotocol, [v for v in variables if v.startswith("WEBSOCKET_")]
    assert asyncio.run(talk(["a", "b"])) == ("b", ["WEBSOCKET_PROTOCOL=b"])
    assert asyncio.run(talk(["c"])) == (None, [])
