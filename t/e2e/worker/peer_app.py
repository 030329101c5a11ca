# SPDX-License-Identifier: BSD-3-Clause
"""ASGI applications that do right and wrong things, each under a path of its own. Run by uvicorn and
by fdworker.asgi in test_asgi_peer.py. /log tells, as JSON, what the last one has seen."""
import json
import os

seen = []
WEBSOCKET_SCOPE = ("type", "http_version", "scheme", "root_path", "path", "query_string",
                   "subprotocols")


def start(status=200, *headers):
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data=b"", more=False):
    return {"type": "http.response.body", "body": data, "more_body": more}


def length(number):
    return b"content-length", b"%d" % number


async def read_body(receive):
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            seen.append(message["type"])
            return b"".join(parts)
        parts.append(message["body"])
        if not message["more_body"]:
            return b"".join(parts)


async def hello(scope, receive, send):
    await send(start(200, length(6), (b"x-a", b"1"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")))
    await send(body(b"Hello\n"))


async def chunked(scope, receive, send):
    await send(start())
    for part in (b"one", b"", b"three"):
        await send(body(part, True))
    await send(body())


async def about(scope, receive, send):
    shown = {name: value for name, value in scope.items()
             if name in ("type", "http_version", "method", "scheme", "root_path", "path")}
    shown.update(query=scope["query_string"].decode(), raw=scope["raw_path"].decode(),
                 version=scope["asgi"]["version"], server=scope["server"][0],
                 client=scope["client"][0], state=scope.get("state", {}).get("made"),
                 headers=sorted([n.decode("latin-1"), v.decode("latin-1")]
                                for n, v in scope["headers"]))
    data = json.dumps(shown).encode()
    await send(start(200, length(len(data))))
    await send(body(data))


async def echo(scope, receive, send):
    data = await read_body(receive)
    await send(start(200, length(len(data))))
    await send(body(data))


async def parts(scope, receive, send):
    """Whether the body arrives whole or not, the application gets all of it, and then the end."""
    data = await read_body(receive)
    await send(start(200, length(len(data))))
    await send(body(data))
    seen.append((await receive())["type"])
    seen.append((await receive())["type"])


async def empty(scope, receive, send):
    await send(start(200, length(0)))
    await send({"type": "http.response.body"})


async def no_headers(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send(body(b"x"))


async def no_content(scope, receive, send):
    await send(start(204))
    await send(body())


async def no_content_with_body(scope, receive, send):
    await send(start(204))
    await send(body(b"not allowed"))


async def not_modified(scope, receive, send):
    await send(start(304, (b"etag", b'"x"'), length(17)))
    await send(body())


async def teapot(scope, receive, send):
    await send(start(418, length(0)))
    await send(body())


async def unknown_status(scope, receive, send):
    await send(start(599, length(0)))
    await send(body())


async def says_close(scope, receive, send):
    await send(start(200, length(1), (b"connection", b"close")))
    await send(body(b"x"))


async def fails(scope, receive, send):
    raise ValueError("on purpose")


async def fails_after_start(scope, receive, send):
    await send(start(200, length(6)))
    raise ValueError("on purpose")


async def fails_in_body(scope, receive, send):
    await send(start(200))
    await send(body(b"begun", True))
    raise ValueError("on purpose")


async def fails_at_the_end(scope, receive, send):
    await hello(scope, receive, send)
    raise ValueError("on purpose")


async def says_nothing(scope, receive, send):
    pass


async def stops_after_start(scope, receive, send):
    await send(start(200, length(6)))


async def stops_in_body(scope, receive, send):
    await send(start(200, length(6)))
    await send(body(b"Hel", True))


async def returns_something(scope, receive, send):
    await hello(scope, receive, send)
    return "something"


async def too_long(scope, receive, send):
    await send(start(200, length(3)))
    await send(body(b"Hello\n"))


async def too_short(scope, receive, send):
    await send(start(200, length(9)))
    await send(body(b"Hello\n"))


async def body_first(scope, receive, send):
    try:
        await send(body(b"x"))
    except RuntimeError as error:
        seen.append(str(error))
    await hello(scope, receive, send)


async def starts_twice(scope, receive, send):
    await send(start(200, length(6)))
    try:
        await send(start(200, length(6)))
    except RuntimeError as error:
        seen.append(str(error))
    await send(body(b"Hello\n"))


async def says_more_than_all(scope, receive, send):
    await hello(scope, receive, send)
    try:
        await send(body(b"more"))
    except RuntimeError as error:
        seen.append(type(error).__name__)


async def unknown_message(scope, receive, send):
    try:
        await send({"type": "http.response.surprise"})
    except RuntimeError as error:
        seen.append(str(error))
    await hello(scope, receive, send)


async def no_status(scope, receive, send):
    await send({"type": "http.response.start", "headers": []})


async def bad_header(scope, receive, send):
    await send(start(200, (b"x-bad", b"a\r\nx-evil: 1"), length(0)))
    await send(body())


async def waits_for_the_end(scope, receive, send):
    await read_body(receive)
    seen.append("waits")
    seen.append((await receive())["type"])
    await send(start(200, length(6)))  # to nobody
    await send(body(b"Hello\n"))
    seen.append("ended")


async def ignores_the_body(scope, receive, send):
    await send(start(404, length(0)))
    await send(body())


async def log(scope, receive, send):
    data = json.dumps(seen).encode()
    await send(start(200, length(len(data))))
    await send(body(data))


# --- WebSocket ---

async def ws_receive(receive):
    message = await receive()
    seen.append({name: message.get(name) for name in ("type", "text", "code")
                 if message.get(name) is not None})
    return message


async def ws_echo(scope, receive, send):
    await ws_receive(receive)
    await send({"type": "websocket.accept"})
    while (message := await ws_receive(receive))["type"] == "websocket.receive":
        if message.get("text") is not None:
            await send({"type": "websocket.send", "text": message["text"]})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})


async def ws_about(scope, receive, send):
    shown = {name: scope[name] for name in WEBSOCKET_SCOPE}
    shown["query_string"] = shown["query_string"].decode()
    await send({"type": "websocket.accept", "subprotocol": "b", "headers": [(b"x-a", b"1")]})
    await send({"type": "websocket.send", "text": json.dumps(shown, sort_keys=True)})
    await send({"type": "websocket.close"})


async def ws_refuses(scope, receive, send):
    await ws_receive(receive)
    await send({"type": "websocket.close"})
    await ws_receive(receive)


async def ws_answers(scope, receive, send):
    await ws_receive(receive)
    await send({"type": "websocket.http.response.start", "status": 401,
                "headers": [(b"content-length", b"4"), (b"x-a", b"1")]})
    await send({"type": "websocket.http.response.body", "body": b"No", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"!\n"})


async def ws_fails_first(scope, receive, send):
    raise ValueError("on purpose")


async def ws_says_nothing(scope, receive, send):
    await ws_receive(receive)


async def ws_fails_later(scope, receive, send):
    await ws_receive(receive)
    await send({"type": "websocket.accept"})
    await ws_receive(receive)
    raise ValueError("on purpose")


async def ws_closes(scope, receive, send):
    await ws_receive(receive)
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": 4001, "reason": "enough"})
    try:
        await send({"type": "websocket.send", "text": "more"})
    except RuntimeError as error:
        seen.append(str(error)[:59])


async def ws_sends_first(scope, receive, send):
    try:
        await send({"type": "websocket.send", "text": "early"})
    except RuntimeError as error:
        seen.append(str(error)[:30])
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": 1000})


# --- which of them ---

async def lifespan(scope, receive, send):
    if "state" in scope:
        scope["state"]["made"] = "at start"
    mode = os.environ.get("PEER_LIFESPAN", "")
    if mode == "raise":
        raise ValueError("no lifespan here")
    assert (await receive())["type"] == "lifespan.startup"
    if mode == "fail":
        return await send({"type": "lifespan.startup.failed", "message": "not today"})
    print("startup", flush=True)
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    print("shutdown", flush=True)
    await send({"type": "lifespan.shutdown.complete"})


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(scope, receive, send)
    name = scope["path"].replace("/mounted", "").split("/")[1]
    if name != "log":
        seen.clear()
    return await globals()[name](scope, receive, send)


class TwoCallables:
    """ASGI 2."""

    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        await app(self.scope, receive, send)


def make():
    return app


def wsgi(environ, start_response):
    data = environ["wsgi.input"].read()
    shown = {name: environ.get(name) for name in
             ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "CONTENT_LENGTH", "HTTP_X_A", "REMOTE_ADDR")}
    text = json.dumps([shown, data.decode()]).encode()
    start_response("200 OK", [("Content-Length", str(len(text)))])
    return [text]

