# SPDX-License-Identifier: BSD-3-Clause
"""SIGTERM and the end of the queue: responses in flight complete, exit status 0."""
import asyncio
import select
import socket

import pytest
import websockets
import wsproto
from wsproto.events import AcceptConnection, CloseConnection, Message, Request

import fronts
import samples
from test_many import get

LARGE = 8_000_000  # bytes, more than sockets keep for a client that does not read


def assert_ends_with_0(one, pid):
    """The status is what the front says: lighttpd in its error log."""
    fronts.wait_until(lambda: pid in one.worker_statuses(), f"the end of worker {pid}", 60)
    assert one.worker_statuses()[pid] == 0


@pytest.mark.parametrize("sample", samples.COMMANDS)
def test_an_idle_worker_ends_with_0_and_its_sibling_goes_on(front, sample):
    one = front(sample)
    first = one.worker_pids()[0]
    if sample in samples.ANSWER:
        asyncio.run(get(one.port, "/hot/now"))
    fronts.terminate(first)
    assert_ends_with_0(one, first)
    if sample in samples.ANSWER:
        assert b" 200 " in asyncio.run(asyncio.wait_for(get(one.port, "/hot/now"), 20))


@pytest.mark.parametrize("sample", samples.ANSWER)
def test_sigterm_under_load_loses_no_response(front, sample):
    """1000 requests, 32 at a time; one of two workers gets SIGTERM on the way."""
    one = front(sample)
    first = one.worker_pids()[0]

    async def run():
        places, done = asyncio.Semaphore(32), 0

        async def ask():
            nonlocal done
            async with places:
                answer = await get(one.port, "/hot/now")
            done += 1
            if done == 300:
                fronts.terminate(first)
            return answer
        return await asyncio.gather(*(ask() for _ in range(1000)))

    answers = asyncio.run(asyncio.wait_for(run(), 60))
    assert all(a.startswith(b"HTTP/1.1 200 OK\r\n") and a.endswith(b"\n") for a in answers)
    assert_ends_with_0(one, first)


@pytest.mark.parametrize("sample, count", samples.SLOW.items())
def test_responses_in_flight_complete(front, sample, count):
    """Slow requests; SIGTERM to the only worker once they are all in work."""
    one = front(sample, workers=1)
    worker = one.worker_pids()[0]

    async def run():
        slow = [asyncio.create_task(get(one.port, "/hot/slow?ms=5000")) for _ in range(count)]
        while fronts.clients_held(worker) < count:
            assert not any(task.done() for task in slow), "answered before all were in work"
            await asyncio.sleep(0.01)
        fronts.terminate(worker)
        return await asyncio.wait_for(asyncio.gather(*slow), 60)

    answers = asyncio.run(run())
    assert all(a.startswith(b"HTTP/1.1 200 OK\r\n") and a.endswith(b"\n") for a in answers)
    assert_ends_with_0(one, worker)


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
def test_websockets_are_told_that_the_worker_goes_away(front, sample):
    one = front(sample, workers=1)
    worker = one.worker_pids()[0]

    async def run():
        async with websockets.connect(one.url("/hot/echo", "ws")) as client:
            await client.send("one")
            assert await client.recv() == "one"
            fronts.terminate(worker)
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await client.recv()
            return closed.value.rcvd.code
    assert asyncio.run(asyncio.wait_for(run(), 60)) == 1001
    assert_ends_with_0(one, worker)


class SlowClient:
    """A WebSocket client that reads only when it is told to."""

    def __init__(self, sock):
        self.sock = sock
        self.seen = []
        self._state = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self._unsent = b""
        self.send(Request(host="t", target="/hot/echo"))

    def send(self, event):
        self._unsent += self._state.send(event)

    def _ready(self):
        poll = select.poll()
        poll.register(self.sock, select.POLLIN | (select.POLLOUT if self._unsent else 0))
        [(_, events)] = poll.poll(30000)
        return events

    def send_until_an_answer_begins(self):
        while not (events := self._ready()) & select.POLLIN:
            assert events & select.POLLOUT
            self._write()

    def exchange_until(self, kind):
        while not any(isinstance(event, kind) for event in self.seen):
            events = self._ready()
            if events & select.POLLOUT:
                self._write()
            if events & select.POLLIN:
                data = self.sock.recv(65536)
                assert data, "connection lost"
                self._state.receive_data(data)
                self.seen.extend(self._state.events())

    def flush(self):
        while self._unsent:
            self._write()

    def _write(self):
        self._unsent = self._unsent[self.sock.send(self._unsent[:65536]):]


@pytest.mark.parametrize("sample", samples.WEBSOCKET)
def test_a_message_on_its_way_to_a_slow_client_arrives_whole_before_1001(front, sample):
    """The client does not read before the worker was told to go."""
    one = front(sample, workers=1)
    worker = one.worker_pids()[0]
    with socket.create_connection(("127.0.0.1", one.port), timeout=30) as sock:
        client = SlowClient(sock)
        client.exchange_until(AcceptConnection)
        client.send(Message(data="x" * LARGE))
        client.send_until_an_answer_begins()
        fronts.terminate(worker)
        fronts.wait_until(lambda: fronts.has_taken_sigterm(worker), "the worker to see SIGTERM")
        client.exchange_until(CloseConnection)
        client.send(client.seen[-1].response())
        client.flush()
    echoed = sum(len(event.data) for event in client.seen if isinstance(event, Message))
    assert (echoed, client.seen[-1].code) == (LARGE, 1001)
    assert_ends_with_0(one, worker)
