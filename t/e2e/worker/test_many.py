# SPDX-License-Identifier: BSD-3-Clause
"""A thousand clients at once at every sample."""
import asyncio

import pytest
import websockets

import samples

MANY = 1000


async def get(port, path, hold=None):
    """The whole response of a request that closes; or, with `hold`, what came first of it, the
    connection being held until the event is set."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    close = "" if hold else "Connection: close\r\n"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: t\r\n{close}\r\n".encode())
    data = await (reader.readuntil(b"\r\n\r\n") if hold else reader.read())
    if hold:
        hold[0].release()
        await hold[1].wait()
    writer.close()
    return data


async def gather_with_limit(make, limit=120):
    return await asyncio.wait_for(asyncio.gather(*(make() for _ in range(MANY))), limit)


@pytest.mark.parametrize("sample", samples.ANSWER)
def test_a_thousand_requests_at_once(front, sample):
    one = front(sample)
    answers = asyncio.run(gather_with_limit(lambda: get(one.port, "/hot/now")))
    assert all(a.startswith(b"HTTP/1.1 200 OK\r\n") for a in answers)


@pytest.mark.parametrize("sample", samples.EVENTS)
def test_a_thousand_open_streams_and_still_an_answer(front, sample):
    one = front(sample)

    async def run():
        begun, end = asyncio.Semaphore(0), asyncio.Event()
        streams = [asyncio.create_task(get(one.port, "/hot/events?ms=1000", (begun, end)))
                   for _ in range(MANY)]
        for _ in range(MANY):
            await asyncio.wait_for(begun.acquire(), 60)
        answer = await asyncio.wait_for(get(one.port, "/hot/now"), 20)
        end.set()
        return answer, await asyncio.gather(*streams)

    answer, heads = asyncio.run(run())
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert all(b"text/event-stream" in head for head in heads)


@pytest.mark.parametrize("sample", samples.SLOW)
def test_requests_are_answered_out_of_order(front, sample):
    one = front(sample, workers=1)

    async def timed(order, path):
        await get(one.port, path)
        order.append(path)

    async def run():
        order = []
        slow = asyncio.create_task(timed(order, "/hot/slow?ms=1500"))
        await timed(order, "/hot/slow?ms=1")
        await slow
        return order

    assert asyncio.run(run()) == ["/hot/slow?ms=1", "/hot/slow?ms=1500"]


@pytest.mark.parametrize("sample", [name for name in samples.EVENTS if name in samples.WEBSOCKET])
def test_one_worker_does_everything_at_once_and_out_of_order(front, sample):
    """1000 event streams, 100 WebSockets, 50 slow requests: /hot/now is answered at once, and every
    WebSocket too, while the slow ones are still being worked on."""
    one = front(sample, workers=1)

    async def run():
        begun, end, slow_ended = asyncio.Semaphore(0), asyncio.Event(), asyncio.Event()
        streams = [asyncio.create_task(get(one.port, "/hot/events?ms=1000", (begun, end)))
                   for _ in range(MANY)]
        for _ in range(MANY):
            await begun.acquire()
        sockets = [await websockets.connect(one.url("/hot/echo", "ws"), open_timeout=60)
                   for _ in range(100)]
        slow = [asyncio.create_task(get(one.port, "/hot/slow?ms=15000")) for _ in range(50)]
        for task in slow:
            task.add_done_callback(lambda _: slow_ended.set())
        assert b" 200 OK" in await get(one.port, "/hot/now")
        for number, client in enumerate(sockets):
            await client.send(f"message {number}")
        assert [await client.recv() for client in sockets] == [f"message {n}" for n in range(100)]
        assert not slow_ended.is_set()
        assert all(b" 200 OK" in answer for answer in await asyncio.gather(*slow))
        for client in sockets:
            await client.close()
        end.set()
        assert all(b"text/event-stream" in head for head in await asyncio.gather(*streams))
    asyncio.run(asyncio.wait_for(run(), 110))


@pytest.mark.parametrize("sample", samples.WEBSOCKET)
def test_a_thousand_websockets_at_once(front, sample):
    one = front(sample)

    async def run():
        all_open, count = asyncio.Event(), 0

        async def session():
            nonlocal count
            async with websockets.connect(one.url("/hot/echo", "ws"), open_timeout=60) as socket:
                count += 1
                if count == MANY:
                    all_open.set()
                await all_open.wait()
                await socket.send("hello")
                return await socket.recv()
        return await gather_with_limit(session)

    assert asyncio.run(run()) == ["hello"] * MANY
