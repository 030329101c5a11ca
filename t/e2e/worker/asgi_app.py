# SPDX-License-Identifier: BSD-3-Clause
"""An ASGI application for test_asgi.py: slow, large and waiting answers, and what the runner told it.

/hot/refuse: 404 without reading   /hot/about: the scope   /hot/upload: length of the body
/hot/stream?mb=N   /hot/slow?s=N   /hot/late?s=N: a stream whose first part comes late
/hot/wait: until the client has gone   /hot/log: what happened, and to whom   /hot/never: no answer
WebSocket: /hot/echo, /hot/never (no accept), /hot/deaf (no receive), /hot/flood?mb=N"""
import asyncio
import json
import sys
import urllib.parse

seen = []
PART = bytes(65536)


async def answer(send, data=b"", status=200, headers=()):
    await send({"type": "http.response.start", "status": status,
                "headers": [(b"content-length", b"%d" % len(data)), *headers]})
    await send({"type": "http.response.body", "body": data})


async def refuse(scope, query, receive, send):
    await answer(send, b"no\n", 404)


async def large_refusal(scope, query, receive, send):
    await answer(send, bytes(300_000), 413)


async def about(scope, query, receive, send):
    shown = {name: scope.get(name) for name in ("client", "scheme", "server", "extensions", "state")}
    seen.append(shown["client"])
    await answer(send, json.dumps(shown).encode())


async def upload(scope, query, receive, send):
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            seen.append("left")
            return
        size += len(message["body"])
        if not message["more_body"]:
            return await answer(send, b"%d" % size)


async def stream(scope, query, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(int(query["mb"]) * 16):
        await send({"type": "http.response.body", "body": PART, "more_body": True})
    seen.append("streamed")
    await send({"type": "http.response.body", "body": b""})


async def slow(scope, query, receive, send):
    await asyncio.sleep(float(query["s"]))
    await answer(send, b"done\n")


async def late(scope, query, receive, send):
    """As frameworks stream: what says that the client has gone stops it."""
    async def produce():
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in (b"one\n", b"two\n"):
            await asyncio.sleep(float(query["s"]))
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def until_gone():
        while (await receive())["type"] != "http.disconnect":
            pass
    tasks = {asyncio.create_task(produce()), asyncio.create_task(until_gone())}
    _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()


async def wait(scope, query, receive, send):
    seen.append("waits")
    while (await receive())["type"] != "http.disconnect":
        pass
    seen.append("gone")


async def never(scope, query, receive, send):
    try:
        await asyncio.sleep(1000)
    finally:
        seen.append("cancelled")


async def two_parts(scope, query, receive, send):
    await send({"type": "http.response.start", "status": 201, "headers": [(b"content-length", b"6")]})
    await send({"type": "http.response.body", "body": b"abc", "more_body": True})
    await asyncio.sleep(0.1)
    await send({"type": "http.response.body", "body": b"def"})


async def fail(scope, query, receive, send):
    raise ValueError("on purpose")


async def log(scope, query, receive, send):
    await answer(send, json.dumps(seen).encode())


def endless(environ, start_response):
    """WSGI."""
    start_response("200 OK", [])
    try:
        while True:
            yield bytes(1000)
    finally:
        print("stopped", file=sys.stderr, flush=True)


# --- WebSocket ---

async def echo(scope, query, receive, send):
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] != "websocket.disconnect":
        if message["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
    seen.append(message["code"])


async def ws_never(scope, query, receive, send):
    while (message := await receive())["type"] != "websocket.disconnect":
        pass
    seen.append(message["code"])


async def deaf(scope, query, receive, send):
    await send({"type": "websocket.accept"})
    seen.append("deaf")
    await asyncio.sleep(1000)


async def flood(scope, query, receive, send):
    await send({"type": "websocket.accept"})
    try:
        for _ in range(int(query["mb"]) * 16):
            await send({"type": "websocket.send", "bytes": PART})
    finally:
        seen.append("flooded")


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    name = scope["path"].rpartition("/")[2]
    if scope["type"] == "websocket" and name == "never":
        name = "ws_never"
    query = dict(urllib.parse.parse_qsl(scope["query_string"].decode()))
    await globals()[name](scope, query, receive, send)
