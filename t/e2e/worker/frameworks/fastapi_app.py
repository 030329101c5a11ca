# SPDX-License-Identifier: BSD-3-Clause
"""FastAPI, and Starlette below it."""
import asyncio
import contextlib

from fastapi import BackgroundTasks, FastAPI, Request, WebSocket
from starlette.responses import StreamingResponse

events = []


@contextlib.asynccontextmanager
async def lifespan(app):
    events.append("startup")
    yield {"made": "at start"}


app = FastAPI(lifespan=lifespan)


@app.get("/hot/now")
async def now():
    return {"framework": "FastAPI"}


@app.get("/hot/sync/{number}")
def in_a_thread(number: int):
    return {"number": number}


@app.get("/hot/about")
async def about(request: Request):
    return {"client": request.client.host, "url": str(request.url), "lifespan": events[:1],
            "user": getattr(request.state, "remote_user", None)}


@app.post("/hot/upload")
async def upload(request: Request):
    return {"bytes": len(await request.body())}


@app.get("/hot/stream")
async def stream(mb: int = 300):
    async def parts():
        for _ in range(mb * 16):
            yield bytes(65536)
    return StreamingResponse(parts())


@app.get("/hot/late")
async def late():
    async def parts():
        for _ in range(3):
            await asyncio.sleep(0.3)
            yield b"part\n"
    return StreamingResponse(parts())


@app.get("/hot/background")
async def background(tasks: BackgroundTasks):
    async def work():
        await asyncio.sleep(2)
        events.append("background")
    tasks.add_task(work)
    return {}


@app.get("/hot/events")
async def what_happened():
    return events


@app.get("/hot/endless")
async def endless():
    async def parts():
        try:
            while True:
                yield b"data: x\n\n"
                await asyncio.sleep(0.02)
        finally:
            events.append("stopped")
    return StreamingResponse(parts())


@app.get("/hot/fail")
async def fail():
    raise ValueError("on purpose")


@app.websocket("/hot/echo")
async def echo(socket: WebSocket):
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)

