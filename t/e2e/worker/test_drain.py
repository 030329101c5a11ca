# SPDX-License-Identifier: BSD-3-Clause
"""SIGTERM and the end of the queue: responses in flight complete, exit status 0."""
import asyncio

import pytest
import websockets

import fronts
import samples
from test_many import get


@pytest.fixture
def cat(tmp_path):
    started = []

    def start(name, **options):
        started.append(fronts.Cat(tmp_path, samples.command(name), **options))
        return started[-1]
    yield start
    for one in started:
        one.stop()


def wait_for_end(one, pid):
    fronts.wait_until(lambda: pid in one.worker_statuses(), f"the end of worker {pid}", 60)
    return one.worker_statuses()[pid]


@pytest.mark.parametrize("sample", samples.COMMANDS)
def test_an_idle_worker_ends_with_0_and_its_sibling_goes_on(cat, sample):
    one = cat(sample)
    first = one.worker_pids()[0]
    if sample != "echo":
        asyncio.run(get(one.port, "/hot/now"))
    fronts.terminate(first)
    assert wait_for_end(one, first) == 0
    if sample != "echo":
        assert b" 200 " in asyncio.run(asyncio.wait_for(get(one.port, "/hot/now"), 20))


@pytest.mark.parametrize("sample", samples.SLOW)
def test_responses_in_flight_complete(front, sample):
    """100 slow requests; SIGTERM to the only worker once they are all in work."""
    one = front(sample, workers=1)

    async def run():
        worker = one.worker_pids()[0]
        slow = [asyncio.create_task(get(one.port, "/hot/slow?ms=3000")) for _ in range(100)]
        while fronts.clients_held(worker) < 100:
            await asyncio.sleep(0.01)
        fronts.terminate(worker)
        return await asyncio.wait_for(asyncio.gather(*slow), 60)

    answers = asyncio.run(run())
    assert all(a.startswith(b"HTTP/1.1 200 OK\r\n") and a.endswith(b"\n") for a in answers)
    if isinstance(one, fronts.Cat):
        assert wait_for_end(one, one.worker_pids()[0]) == 0


@pytest.mark.parametrize("sample", samples.EVENTS)
def test_the_end_of_the_queue_ends_streams_in_good_order(tmp_path, sample):
    one = fronts.Cat(tmp_path, samples.command(sample))

    async def run():
        begun, end = asyncio.Semaphore(0), asyncio.Event()
        task = asyncio.create_task(get(one.port, "/hot/events?ms=50&count=20",
                                       (begun, end)))
        await begun.acquire()
        await asyncio.to_thread(one.stop)  # asserts status 0
        end.set()
        await task
    asyncio.run(asyncio.wait_for(run(), 60))


@pytest.mark.parametrize("sample", samples.WEBSOCKET)
def test_websockets_are_told_that_the_worker_goes_away(cat, sample):
    one = cat(sample, workers=1)

    async def run():
        async with websockets.connect(one.url("/hot/echo", "ws")) as client:
            await client.send("one")
            assert await client.recv() == "one"
            fronts.terminate(one.worker_pids()[0])
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await client.recv()
            return closed.value.rcvd.code
    assert asyncio.run(asyncio.wait_for(run(), 60)) == 1001
    assert wait_for_end(one, one.worker_pids()[0]) == 0
