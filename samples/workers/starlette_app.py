# SPDX-License-Identifier: BSD-3-Clause
"""A Starlette application: pages, uploads, server-sent events, WebSocket. Nothing in it knows of
hand-offs; `python3 -m fdworker.asgi starlette_app:app` makes it a worker."""

import asyncio
import hashlib
import time

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute


async def now(request):
    return PlainTextResponse(f"{time.time():.3f}\n")


async def slow(request):
    await asyncio.sleep(float(request.query_params.get("ms", "500")) / 1000)
    return await now(request)


async def about(request):
    return JSONResponse({"method": request.method, "path": request.url.path,
                         "client": request.client and request.client.host})  # fmt: skip


async def upload(request):
    digest, size = hashlib.sha256(), 0
    async for part in request.stream():
        digest.update(part)
        size += len(part)
    return JSONResponse({"bytes": size, "sha256": digest.hexdigest()})


async def events(request):
    async def ticks():
        for number in range(int(request.query_params.get("count", "1000000"))):
            yield f"data: {number}\n\n"
            await asyncio.sleep(float(request.query_params.get("ms", "1000")) / 1000)

    return StreamingResponse(ticks(), media_type="text/event-stream")


async def echo(websocket):
    await websocket.accept()
    async for message in websocket.iter_text():
        await websocket.send_text(message)


app = Starlette(
    routes=[
        Route("/hot/now", now),
        Route("/hot/slow", slow),
        Route("/hot/about", about),
        Route("/hot/upload", upload, methods=["POST", "PUT"]),
        Route("/hot/events", events),
        WebSocketRoute("/hot/echo", echo),
    ]
)
