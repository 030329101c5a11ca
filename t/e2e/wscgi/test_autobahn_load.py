# SPDX-License-Identifier: BSD-3-Clause
"""Autobahn's groups 9 (limits) and 12 and 13 (compression) through a real lighttpd and a program,
over HTTP/1.1 and HTTP/2, by number. python3-wsproto is the client, which compresses by itself.

What differs from the original suite: its data files are not ours to copy, so data of the same kinds
are made here; and of its 1000 messages in each case of 12 and 13 as many are sent as make 256 KiB
(at least 4, at most 100).
"""
import asyncio
import itertools
import random
import zlib

import http1_client
import http2_client
import pytest
import wsproto.connection
import wsproto.events
import wsproto.extensions
from test_autobahn import H2C

BOTH = pytest.mark.parametrize("connection", [http1_client.Connection, http2_client.Connection],
                               ids=["http1", "http2"])
LENGTH = {"bin-path": "/bin/cat", "framing": "length"}
KIB, MIB = 1 << 10, 1 << 20
ALL_MESSAGES = 1000  # in 9.7 and 9.8
FEWER_MESSAGES, FEWER_BYTES = (4, 100), 256 * KIB


async def send(stream, message, fragment=0, write=0):
    """A message in fragments of so many bytes, written so many bytes at a time."""
    kind = wsproto.events.TextMessage if isinstance(message, str) else wsproto.events.BytesMessage
    size = fragment or max(len(message), 1)
    starts = range(0, max(len(message), 1), size)
    # Every fragment is masked by wsproto; what is written at once is no matter of the case then.
    data = b"".join(stream.frames.send(kind(data=message[at:at + size],
                                            message_finished=at + size >= len(message)))
                    for at in starts)
    for at in range(0, len(data), write or len(data)):
        await stream.send_bytes(data[at:at + (write or len(data))])


async def echo(stream, message, **pieces):
    sending = asyncio.create_task(send(stream, message, **pieces))
    answer = await stream.recv()
    await sending
    return answer == message


def run_cases(serve, connection, cases, endpoint):
    """`cases`: (name, coroutine function of a connection that returns a complaint or "")."""
    server = serve({"/ws": endpoint}, H2C)

    async def run():
        complaints = []
        for name, case in cases:
            async with connection.open(server, window=MIB) as one:
                if complaint := await case(one):
                    complaints.append(f"{name}: {complaint}")
        return complaints
    assert asyncio.run(run()) == []


# ---- 9: limits

def large(size, text):
    """JSON-like text, or bytes of all values."""
    return ("*" * size) if text else (bytes(range(256)) * (size // 256 + 1))[:size]


def group_9():
    sizes = [64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB]
    fragments = [64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB]
    writes = [64, 128, 256, 512, KIB, 2 * KIB]
    payloads = [0, 16, 64, 256, KIB, 4 * KIB]
    for subgroup, values, keyword in [(1, sizes, None), (3, fragments, "fragment"),
                                      (5, writes, "write"), (7, payloads, "count")]:
        for text in (True, False):
            for number, value in enumerate(values, 1):
                yield f"9.{subgroup + (not text)}.{number}", text, keyword, value


def limit_case(text, keyword, value):
    async def case(connection):
        stream = await connection.websocket("/ws")
        if keyword == "count":  # so many messages, each after the last one's echo
            message = large(value, text)
            good = [await echo(stream, message) for _ in range(ALL_MESSAGES)]
            return "" if all(good) else "an echo differs"
        size = {None: value, "fragment": 4 * MIB, "write": MIB}[keyword]
        pieces = {keyword: value} if keyword else {}
        good = await echo(stream, large(size, text), **pieces)
        return "" if good else "the echo differs"
    return case


@BOTH
@pytest.mark.timeout(300)
def test_group_9(serve, connection):
    cases = [(name, limit_case(*rest)) for name, *rest in group_9()]
    assert len(cases) == 54
    run_cases(serve, connection, cases, LENGTH)


# ---- 12 and 13: compression

# Bytes of a message and of a fragment (0: not fragmented), for x.y.1 to x.y.18.
SIZES = [(16, 0), (64, 0), (256, 0), (1024, 0), (4096, 0), (8192, 0), (16384, 0), (32768, 0),
         (65536, 0), (131072, 0), (8192, 256), (16384, 256), (32768, 256), (65536, 256),
         (131072, 256), (131072, 1024), (131072, 4096), (131072, 32768)]
DATA = 200000
NONE = "permessage-deflate; client_no_context_takeover; client_max_window_bits"
# The offers of 13.1 to 13.7, and the largest window that the server may then look back in.
OFFERS = [
    (NONE, 15),
    (f"{NONE}; server_no_context_takeover", 15),
    (f"{NONE}; server_max_window_bits=8", 8),
    (f"{NONE}; server_max_window_bits=15", 15),
    (f"{NONE}; server_no_context_takeover; server_max_window_bits=8", 8),
    (f"{NONE}; server_no_context_takeover; server_max_window_bits=15", 15),
    (f"{NONE}; server_no_context_takeover; server_max_window_bits=8, "
     f"{NONE}; server_no_context_takeover, {NONE}", 8),
]


def kinds_of_data():
    """As Autobahn's: large JSON, a bitmap, prose in UTF-8 sent as bytes, HTML, a PDF."""
    source = random.Random(12)
    words = "Habe nun ach Philosophie Juristerei und Medizin und leider auch Theologie " \
            "durchaus studiert mit heißem Bemühn Da steh ich".split()
    json = "".join(f'{{"id": {source.randrange(100000)}, "name": "user{source.randrange(50)}", '
                   f'"tags": ["alpha", "beta"]}},\n' for _ in range(DATA // 30))
    bitmap = bytes((i % 512 // 3 + i // 1024 + source.randrange(6)) % 256 for i in range(DATA))
    prose = " ".join(source.choice(words) for _ in range(DATA // 3)).encode()
    html = "".join(f'<tr class="case"><td><a href="#case_{source.randrange(1000)}">Case</a></td>'
                   f'<td class="ok">Pass</td></tr>\n' for _ in range(DATA // 50))
    pdf = b"".join(source.randbytes(4000) + b"endstream endobj " * 59 for _ in range(DATA // 5000))
    return [kind[:DATA] for kind in (json, bitmap, prose, html, pdf)]


class Deflate(wsproto.extensions.PerMessageDeflate):
    """wsproto's, which knows no window of 2^8 bytes, and counts what was really compressed."""

    def finalize(self, offer):
        window = offer.replace("server_max_window_bits=8", "server_max_window_bits=9")
        super().finalize(window)
        if window != offer:
            self._server_max_window_bits = 8
        self.received = 0

    def frame_inbound_payload_data(self, proto, data):
        self.received += len(data)
        return super().frame_inbound_payload_data(proto, data)


def messages_of(data, size):
    count = min(max(FEWER_BYTES // size, FEWER_MESSAGES[0]), FEWER_MESSAGES[1])
    starts = itertools.cycle(range(0, len(data) - size + 1, size))
    return [data[at:at + size] for at in itertools.islice(starts, count)]


def compression_case(data, size, fragment, offers, window):
    async def case(connection):
        stream = await connection.websocket("/ws", sec_websocket_extensions=offers)
        agreed = stream.headers.get("sec-websocket-extensions", "")
        deflate = Deflate()
        deflate.finalize(agreed)
        # What the client has asked for must be granted, whichever of its offers was taken.
        if "server_no_context_takeover" not in agreed and "server_no_context_takeover" in offers \
                or deflate.server_max_window_bits > window:
            return f"{offers!r} was answered by {agreed!r}"
        stream.frames = wsproto.connection.Connection(
            wsproto.connection.ConnectionType.CLIENT, extensions=[deflate])
        messages = messages_of(data, size)
        for message in messages:
            if not await echo(stream, message, fragment=fragment):
                return "an echo differs"
        plain = sum(map(len, messages))
        packed = len(zlib.compress(b"".join(m if isinstance(m, bytes) else m.encode()
                                            for m in messages)))
        if size >= 1024 and packed < plain / 2 and deflate.received > plain * 0.9:
            return f"{plain} bytes came in {deflate.received}: not compressed"
        return ""
    return case


def run_compression(serve, connection, group, variants):
    """`variants`: (data, offers, largest window) of each subgroup."""
    cases = [(f"{group}.{subgroup}.{number}", compression_case(data, *size, offers, window))
             for subgroup, (data, offers, window) in enumerate(variants, 1)
             for number, size in enumerate(SIZES, 1)]
    assert len(cases) == {12: 90, 13: 126}[group]
    run_cases(serve, connection, cases, {**LENGTH, "deflate": "enable"})


@BOTH
@pytest.mark.timeout(300)
def test_group_12(serve, connection):
    run_compression(serve, connection, 12, [(data, NONE, 15) for data in kinds_of_data()])


@BOTH
@pytest.mark.timeout(300)
def test_group_13(serve, connection):
    data = kinds_of_data()[0]
    run_compression(serve, connection, 13, [(data, *offer) for offer in OFFERS])
