# SPDX-License-Identifier: BSD-3-Clause
"""fdworker's loops as a program uses them: blocking, with threads, asyncio; SIGTERM included."""
import asyncio
import socket
import subprocess
import sys

import pytest

import fronts
from test_http import curl
from test_many import gather_with_limit, get

BLOCKING = """
import fdworker, sys, time
def answer(handoff):
    time.sleep(3 if b"slow" in handoff.head else 0)
    body = handoff.request_line.encode()
    handoff.sock.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(body), body))
    if b"fail" in handoff.head: raise ValueError("on purpose")
    if b"Connection: close" not in handoff.head: handoff.give_back(handoff.rest)
fdworker.serve(answer, threads=int(sys.argv[1]))
"""
ASYNCIO = """
import asyncio, fdworker.aio
async def answer(handoff, reader, writer):
    head = await reader.readuntil(b"\\r\\n\\r\\n")
    await asyncio.sleep(3 if b"slow" in head else 0)
    body = head.split(b"\\r\\n")[0]
    writer.write(b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n%s"
                 % (len(body), body))
    if b"fail" in head: raise ValueError("on purpose")
asyncio.run(fdworker.aio.serve(answer))
"""
LOOPS = {"blocking": [BLOCKING, "0"], "threads": [BLOCKING, "8"], "asyncio": [ASYNCIO]}


@pytest.fixture(params=LOOPS)
def one(request, tmp_path):
    script, *arguments = LOOPS[request.param]
    (tmp_path / "worker.py").write_text(script)
    cat = fronts.Cat(tmp_path, [sys.executable, str(tmp_path / "worker.py"), *arguments])
    cat.loop = request.param
    yield cat
    cat.stop()


def test_it_answers(one):
    assert curl(one.url("/hot/a"), one.url("/hot/b")) == b"GET /hot/a HTTP/1.1GET /hot/b HTTP/1.1"


def test_a_handler_that_fails_costs_nobody_else(one):
    asyncio.run(get(one.port, "/hot/fail"))
    assert curl(one.url("/hot/a")) == b"GET /hot/a HTTP/1.1"


def test_a_thousand_requests(one):
    answers = asyncio.run(gather_with_limit(lambda: get(one.port, "/hot/a")))
    assert all(a.endswith(b"GET /hot/a HTTP/1.1") for a in answers)


def test_sigterm_completes_what_is_in_work(one):
    async def run():
        slow = asyncio.create_task(get(one.port, "/hot/slow"))
        while not (holder := [p for p in one.worker_pids() if fronts.clients_held(p)]):
            assert not slow.done(), "answered before it was seen in work"
            await asyncio.sleep(0.01)
        fronts.terminate(holder[0])
        return holder[0], await slow
    pid, answer = asyncio.run(asyncio.wait_for(run(), 30))
    assert answer.endswith(b"GET /hot/slow HTTP/1.1")
    fronts.wait_until(lambda: pid in one.worker_statuses(), "the worker's end")
    assert one.worker_statuses()[pid] == 0


EARLY = """
import os, signal
def and_at_once(number, handler, install=signal.signal):
    old = install(number, handler)
    if number == signal.SIGTERM and callable(handler): os.kill(os.getpid(), number)
    return old
signal.signal = and_at_once
"""


@pytest.mark.parametrize("loop", LOOPS)
def test_sigterm_is_not_lost_as_soon_as_it_is_handled(loop):
    script, *arguments = LOOPS[loop]
    ours, queue = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, queue:
        done = subprocess.run([sys.executable, "-c", EARLY + script, *arguments], stdin=queue,
                              env=fronts.ENVIRONMENT, timeout=60, check=False)
    assert done.returncode == 0


def test_asyncio_a_body_that_nobody_reads_does_not_cost_the_answer(tmp_path):
    """The client sends all of it first."""
    (tmp_path / "worker.py").write_text(ASYNCIO)
    (tmp_path / "body").write_bytes(bytes(30_000_000))
    cat = fronts.Cat(tmp_path, [sys.executable, str(tmp_path / "worker.py")])
    for _ in range(5):
        answer = curl("-H", "Expect:", "--data-binary", f"@{tmp_path / 'body'}", cat.url("/hot/a"))
        assert answer == b"POST /hot/a HTTP/1.1"
    cat.stop()
