# SPDX-License-Identifier: BSD-3-Clause
"""An ASGI application that says how a request reached it. Run by fdworker.asgi.

/hot/about: scheme, HTTP version, client, host   /hot/upload: size and digest of the body
/hot/download: 5 MB"""
import hashlib
import json

DOWNLOAD = bytes(i * 7 % 251 for i in range(5_000_000))


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    digest, size, more = hashlib.sha256(), 0, True
    while more:
        event = await receive()
        part = event.get("body", b"")
        digest.update(part)
        size += len(part)
        more = event.get("more_body", False)
    if scope["path"] == "/hot/download":
        body = DOWNLOAD
    else:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        body = json.dumps({"scheme": scope["scheme"], "client": (scope["client"] or [""])[0],
                           "host": headers.get("host"), "bytes": size,
                           "forwarded": headers.get("x-forwarded-for"), "headers": headers,
                           "sha256": digest.hexdigest()}).encode()
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
