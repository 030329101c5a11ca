# SPDX-License-Identifier: BSD-3-Clause
"""A worker that has run out of file descriptors: what it cannot receive goes back to the server, for
a sibling or for later, and no client waits in vain."""
import contextlib
import select
import socket

import pytest

import fronts
import processes
import samples

# The others have one connection at a time.
WORKERS = [name for name in samples.ANSWER if not name.startswith("hello")]
BATCHES = ["epoll"]
SAID = "RLIMIT_NOFILE"
AT_ONCE = 100  # requests

every_worker = pytest.mark.parametrize("sample", WORKERS)
behind_lighttpd = pytest.mark.parametrize(
    "front", ["lighttpd-uri", pytest.param("lighttpd-raw", marks=pytest.mark.raw)], indirect=True)


def ask(one, fields="Connection: close\r\n"):
    client = socket.create_connection(("127.0.0.1", one.port), timeout=20)
    client.sendall(f"GET /hot/now HTTP/1.1\r\nHost: t\r\n{fields}\r\n".encode())
    return client


def answer(client):
    """All of it, until the connection ends."""
    with client:
        return b"".join(iter(lambda: client.recv(65536), b""))


def is_answered(client):
    return answer(client).startswith(b"HTTP/1.1 200 OK\r\n")


def all_workers(one, count):
    """Those who have started; none of them stands in for a sibling that has not."""
    fronts.wait_until(lambda: len(one.worker_pids()) == count, f"{count} workers")
    for pid in one.worker_pids():
        fronts.wait_until(lambda pid=pid: fronts.handles_sigterm(pid), f"worker {pid} to be ready")
    return one.worker_pids()


def warm_up(one, worker):
    """A first answer, for which programs open files; then all is closed."""
    assert is_answered(ask(one))
    fronts.wait_until(lambda: fronts.has_unix_sockets_only(worker), "the connection's end")


def wait_for_complaint(one):
    fronts.wait_until(lambda: SAID in one.worker_output(), repr(SAID))


@every_worker
def test_requests_are_left_to_a_sibling(front, sample):
    one = front(sample)
    poor, sibling = all_workers(one, 2)
    with fronts.stopped(sibling):
        warm_up(one, poor)
        with fronts.few_descriptors(poor):
            client = ask(one)
            wait_for_complaint(one)
    with fronts.few_descriptors(poor):
        assert is_answered(client)
        assert all(is_answered(client) for client in [ask(one) for _ in range(AT_ONCE)])
        assert all(is_answered(ask(one)) for _ in range(AT_ONCE))


@every_worker
def test_a_request_is_answered_as_soon_as_descriptors_are_free(front, sample):
    one = front(sample, workers=1)
    [worker] = all_workers(one, 1)
    warm_up(one, worker)
    with fronts.few_descriptors(worker):
        clients = [ask(one) for _ in range(5)]
        wait_for_complaint(one)
    assert all(map(is_answered, clients))


@pytest.mark.parametrize("front", ["lighttpd-uri"], indirect=True)
@every_worker
def test_until_descriptors_are_free_it_waits_and_keeps_nobody_busy(front, sample):
    one = front(sample, workers=1)
    [worker] = all_workers(one, 1)
    warm_up(one, worker)
    before = processes.cpu(worker)
    with fronts.few_descriptors(worker):
        client = ask(one)
        wait_for_complaint(one)
        assert not select.select([client], [], [], 2.5)[0]
    assert is_answered(client)
    assert processes.cpu(worker) - before < 1
    assert one.worker_output().count(SAID) == 1


@every_worker
def test_sigterm_ends_a_worker_that_waits_for_descriptors(front, sample):
    one = front(sample)
    poor, sibling = all_workers(one, 2)
    with fronts.stopped(sibling):
        warm_up(one, poor)
        with fronts.few_descriptors(poor):
            client = ask(one)
            wait_for_complaint(one)
            fronts.terminate(poor)
            fronts.wait_until(lambda: poor in one.worker_statuses(), "the worker's end")
    assert one.worker_statuses()[poor] == 0
    assert is_answered(client)


@every_worker
def test_a_worker_that_has_waited_for_descriptors_sees_the_end_of_the_queue(tmp_path, sample):
    one = fronts.Cat(tmp_path, samples.command(sample), workers=1)
    [worker] = all_workers(one, 1)
    warm_up(one, worker)
    with fronts.few_descriptors(worker):
        client = ask(one)
        wait_for_complaint(one)
    one.stop()  # asserts status 0
    assert is_answered(client)


@behind_lighttpd
@pytest.mark.parametrize("sample", BATCHES)
@pytest.mark.parametrize("free", [0, 5])
def test_what_came_together_is_answered_with_the_descriptors_there_are(front, sample, free):
    one = front(sample, workers=1)
    [worker] = all_workers(one, 1)
    warm_up(one, worker)
    with fronts.few_descriptors(worker, free):
        with fronts.stopped(one.server.pid):
            clients = [ask(one) for _ in range(AT_ONCE)]
        wait_for_complaint(one)
        if free:
            assert all(map(is_answered, clients[:free]))
    assert all(map(is_answered, clients[free:]))


@behind_lighttpd
@pytest.mark.parametrize("sample", BATCHES)
def test_what_came_together_is_answered_though_there_are_never_enough(front, sample):
    one = front(sample, workers=1)
    [worker] = all_workers(one, 1)
    warm_up(one, worker)
    with fronts.few_descriptors(worker, 4):
        with fronts.stopped(one.server.pid):
            clients = [ask(one) for _ in range(50)]
        assert all(map(is_answered, clients))


@behind_lighttpd
@pytest.mark.parametrize("sample", ["epoll", "asyncio"])
def test_the_one_that_has_descriptors_answers_all(front, sample):
    """Though each of the others has taken the request before, and returned it."""
    one = front(sample, workers=5)
    rich, *poor = all_workers(one, 5)
    with contextlib.ExitStack() as stack:
        for worker in poor:
            stack.enter_context(fronts.few_descriptors(worker))
        with fronts.stopped(rich):
            client = ask(one)
            fronts.wait_until(lambda: one.worker_output().count(SAID) >= len(poor), "complaints")
        assert is_answered(client)
        assert all(map(is_answered, [ask(one) for _ in range(50)]))


@every_worker
@pytest.mark.parametrize("free, expected", [(0, b""), (1, b"HTTP/1.1 503 ")])
def test_with_data_in_a_memfd_it_ends_at_once(tmp_path, sample, free, expected):
    """The data are lost, and so the request, but nobody waits; with the socket there is an answer."""
    one = fronts.Cat(tmp_path, samples.command(sample), workers=1, options=["--memfd"])
    [worker] = all_workers(one, 1)
    warm_up(one, worker)
    with fronts.few_descriptors(worker, free):
        response = answer(ask(one))
    assert response.startswith(expected) and bool(response) == bool(expected)
    assert is_answered(ask(one))
    one.stop()


@behind_lighttpd
@pytest.mark.parametrize("sample", samples.RETURN)
def test_a_connection_is_returned_without_a_descriptor_more(front, sample):
    one = front(sample, workers=1)
    [worker] = all_workers(one, 1)
    warm_up(one, worker)
    request = b"GET /hot/now HTTP/1.1\r\nHost: t\r\n\r\n"
    other = b"GET /nothing-here HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
    with fronts.few_descriptors(worker, free=1), ask(one, "") as client:
        client.sendall(request + other)
        response = answer(client)
    assert response.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert response.count(b"HTTP/1.1 404 ") == 1
    assert "Traceback" not in one.worker_output()
