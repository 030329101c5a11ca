# SPDX-License-Identifier: BSD-3-Clause
"""fdworker's decoder against the vectors, and its queue against bad messages."""

import array
import asyncio
import contextlib
import dataclasses
import errno
import gc
import os
import pathlib
import resource
import select
import socket
import threading

import pytest

import fdworker
from fdworker import HandoffListener, HandoffQueue, QueueClosed, Reason, RecordError, passing
from fdworker.aio import Intake
from fdworker.at_work import AtWork
from fdworker.pool import Pool
from fdworker.queue import UNSENT_MAX
from fdworker.record import (MESSAGE_MAX, Field, Flag, Kind, Record, decode, decode_fields, encode,
                             encode_fields, split)
from fdworker.sources import PAUSE, Sources, find_sources, listen_unix, may_go_on

REQUEST = b"GET /hot/ HTTP/1.1\r\nHost: a\r\n\r\n"
GOOD = Record(Kind.REQUEST, 0, 7, 3, len(REQUEST), len(REQUEST))


def vectors():
    for line in (pathlib.Path(__file__).parent / "vectors.txt").read_text().splitlines():
        if not line.startswith("#"):
            name, fds, expected, text, *fields = line.split(" ")
            text, _, zeros = text.strip("-").partition("+")
            message = bytes.fromhex(text) + bytes(int(zeros or 0))
            fields = {k: int(v) for k, v in (f.split("=") for f in fields)}
            yield pytest.param(int(fds), expected, message, fields, id=name)


@pytest.mark.parametrize("fds, expected, message, fields", vectors())
def test_every_vector_decodes_as_it_says(fds, expected, message, fields):
    if expected != "none":
        with pytest.raises(RecordError) as error:
            decode(message, fds)
        assert error.value.reason.value == expected
        assert str(error.value)
    else:
        record = decode(message, fds)
        assert dataclasses.asdict(record) == fields
        assert encode(record) == message[:32]
        assert record.fds_expected == fds


def test_there_are_vectors():
    assert len(list(vectors())) > 40


def open_fds():
    gc.collect()  # earlier tests' sockets, in the tracebacks of expected errors
    return set(os.listdir("/proc/self/fd"))


@contextlib.contextmanager
def few_descriptors(free=0):
    """No more than these are left, until the end of the `with`."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_ones = [os.dup(0) for _ in range(free + 1)]
    for fd in next_ones:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_ones[-1], limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


class Bench:
    def __init__(self, stack):
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.server, self.worker_end = pair
        self.client, self.accepted = socket.socketpair()
        for sock in (*pair, self.client, self.accepted):
            stack.enter_context(sock)
        self.queue = HandoffQueue(self.worker_end)

    def send(self, message, fds):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.server.sendmsg([message], rights)

    def good_one_arrives(self):
        self.send(encode(GOOD) + REQUEST, [self.accepted.fileno()])
        with self.queue.receive() as handoff:
            assert handoff.data == REQUEST
        self.client, self.accepted = socket.socketpair()

    def told(self):
        message, fds, *_ = passing.receive(self.server)
        with fds:
            return decode(message, len(fds)), message[32:]

    def told_nothing(self):
        return not select.select([self.server], [], [], 0)[0]


@pytest.fixture
def bench():
    with contextlib.ExitStack() as stack:
        yield Bench(stack)


def changed(**fields):
    return encode(dataclasses.replace(GOOD, **fields))


BAD = {
    "nothing but an fd": (b"", 1, Reason.SHORT_HEADER),
    "one byte": (b"L", 1, Reason.SHORT_HEADER),
    "header cut": (encode(GOOD)[:31], 1, Reason.SHORT_HEADER),
    "wrong magic": (b"X" + encode(GOOD)[1:] + REQUEST, 1, Reason.BAD_MAGIC),
    "version 1": (b"LFDT\1" + encode(GOOD)[5:] + REQUEST, 1, Reason.BAD_VERSION),
    "unknown kind": (changed(kind=9) + REQUEST, 1, Reason.BAD_KIND),
    "unknown flag": (changed(flags=128) + REQUEST, 1, Reason.BAD_FLAGS),
    "data cut": (encode(GOOD) + REQUEST[:-1], 1, Reason.BAD_LENGTHS),
    "oversized": (encode(GOOD) + bytes(MESSAGE_MAX), 1, Reason.TRUNCATED_DATA),
    "no fd": (encode(GOOD) + REQUEST, 0, Reason.MISSING_FD),
    "three fds": (encode(GOOD) + REQUEST, 3, Reason.TOO_MANY_FDS),
    "more fds than room": (encode(GOOD) + REQUEST, 100, Reason.TOO_MANY_FDS),
    "memfd too short": (changed(flags=1, data_length=99), "memfd", Reason.SHORT_MEMFD),
    "not a socket": (encode(GOOD) + REQUEST, "pipe", Reason.NOT_A_SOCKET),
    "a worker's kind": (encode(Record(Kind.HELLO)), 0, Reason.NOT_FOR_WORKERS),
}


@pytest.mark.parametrize("message, fds, reason", BAD.values(), ids=BAD.keys())
def test_bad_messages_are_refused_and_the_queue_goes_on(bench, message, fds, reason):
    memfd, pipe = passing.memfd_with(REQUEST), os.pipe()
    numbers = {"memfd": [bench.accepted.fileno(), memfd], "pipe": [pipe[0]]}
    before = open_fds()
    bench.send(message, numbers.get(fds) or [bench.accepted.fileno()] * fds)
    with pytest.raises(RecordError) as error:
        bench.queue.receive()
    assert error.value.reason is reason
    assert open_fds() == before
    bench.good_one_arrives()
    for fd in (memfd, *pipe):
        os.close(fd)


def test_credentials_before_the_fds_do_not_matter(bench):
    bench.worker_end.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    bench.good_one_arrives()


def test_receiving_never_blocks(bench):
    assert bench.queue.receive() is None


def test_the_end_of_the_queue_means_drain(bench):
    bench.server.close()
    with pytest.raises(QueueClosed):
        bench.queue.receive()


def test_what_waits_when_the_server_dies_with_notes_unread_is_received(bench):
    bench.queue.hello()
    bench.send(encode(GOOD) + REQUEST, [bench.accepted.fileno()])
    bench.server.close()
    with bench.queue.receive() as handoff:
        assert handoff.data == REQUEST
    with pytest.raises(QueueClosed):
        bench.queue.receive()


def test_taken_is_said_once_and_only_if_wanted(bench):
    for flags in (0, 4):
        bench.send(changed(flags=flags) + REQUEST, [bench.accepted.fileno()])
        handoff = bench.queue.receive()
        handoff.taken()
        handoff.taken()
    assert bench.told()[0] == Record(Kind.TAKEN, id=7)
    assert bench.told_nothing()


def test_done_is_said_once_with_its_numbers_and_implies_taken(bench):
    bench.send(changed(flags=4) + REQUEST, [bench.accepted.fileno()])
    handoff = bench.queue.receive()
    handoff.done(404, 12)
    handoff.taken()
    handoff.close()
    record, fields = bench.told()
    assert (record.kind, record.id) == (Kind.DONE, 7)
    assert decode_fields(fields) == {Field.STATUS: b"\x94\x01", Field.BYTES: b"\x0c" + bytes(7)}
    assert bench.told_nothing()


def test_a_return_carries_what_the_log_shows_and_may_end_the_connection(bench):
    for size in (0, 5, 65537):
        bench.send(encode(GOOD) + REQUEST, [bench.accepted.fileno()])
        assert bench.queue.receive().give_back(b"x" * size, 200, 6, end=True)
        record, data = bench.told()
        assert record.kind == Kind.RETURN and record.flags & Flag.END_CONNECTION
        section = data[len(data) - record.fields_length:]
        assert decode_fields(section) == {Field.STATUS: b"\xc8\0", Field.BYTES: b"\x06" + bytes(7)}


def test_what_the_server_knows_of_the_client(bench):
    fields = {Field.CLIENT_ADDRESS: "192.0.2.7", Field.CLIENT_PORT: 4711, Field.SCHEME: "https",
              Field.USER: "jo", Field.BODY_LIMIT: 1024}
    for section, client, scheme, user, limit in (
            (encode_fields(fields), ("192.0.2.7", 4711), "https", "jo", 1024),
            (b"", None, "http", None, None), (b"\x63\0\x01\0x", None, "http", None, None)):
        message = changed(fields_length=len(section)) + REQUEST + section
        bench.send(message, [bench.accepted.fileno()])
        with bench.queue.receive() as handoff:
            assert handoff.data == REQUEST
            assert (handoff.client, handoff.scheme) == (client, scheme)
            assert (handoff.user, handoff.body_limit) == (user, limit)
        bench.told()


def test_threads_may_tell_at_the_same_time(bench):
    threads = [threading.Thread(target=lambda: [bench.queue.tell(Record(Kind.TAKEN, id=1))
                                                for _ in range(500)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(8 * 500):
        while not select.select([bench.server], [], [], 0.01)[0]:
            bench.queue.flush()
        assert bench.told()[0].id == 1
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("size", [0, 5, 65536, 65537])
def test_a_socket_is_given_back_with_its_unread_bytes(bench, size):
    bench.send(encode(GOOD) + REQUEST, [bench.accepted.fileno()])
    handoff = bench.queue.receive()
    assert handoff.give_back(b"x" * size)
    record, inline = bench.told()
    assert (record.kind, record.id, record.socket_index) == (Kind.RETURN, 7, 3)
    assert record.data_length == size
    assert inline == (b"" if record.in_memfd else b"x" * size)


def test_what_the_server_still_has_is_given_back_without_the_socket(bench):
    request = dataclasses.replace(GOOD, flags=Flag.WANTS_TAKEN)
    for unread, flags in ((b"", Flag.WITHOUT_SOCKET), (b"x", 0)):
        bench.send(encode(request) + REQUEST, [bench.accepted.fileno()])
        assert bench.queue.receive().give_back(unread)
        assert bench.told()[0].flags == flags


def test_what_was_taken_is_given_back_with_the_socket(bench):
    bench.send(encode(dataclasses.replace(GOOD, flags=Flag.WANTS_TAKEN)) + REQUEST,
               [bench.accepted.fileno()])
    handoff = bench.queue.receive()
    handoff.taken()
    assert handoff.give_back()
    assert [bench.told()[0].kind, bench.told()[0].flags] == [Kind.TAKEN, 0]


def test_what_cannot_be_given_back_stays_open(bench):
    given = True
    while given:
        bench.send(encode(GOOD) + REQUEST, [bench.accepted.fileno()])
        handoff = bench.queue.receive()
        given = handoff.give_back()
    assert handoff.sock.fileno() >= 0
    handoff.close()


def test_without_descriptors_a_server_is_not_turned_away(tmp_path):
    path = str(tmp_path / "handoff")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening, \
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server, \
            contextlib.closing(HandoffListener(listening)) as listener:
        listening.bind(path)
        listening.listen()
        server.settimeout(20)
        server.connect(path)
        with few_descriptors(), pytest.raises(OSError) as error:
            listener.accept()
        assert error.value.errno == errno.EMFILE
        with contextlib.closing(listener.accept()) as queue:
            queue.hello()
            assert server.recv(100)


def refused(bench, message, fds, free):
    """The reason, when the worker has no more than `free` descriptors left."""
    bench.send(message, fds)
    with few_descriptors(free), pytest.raises(RecordError) as error:
        bench.queue.receive()
    return error.value.reason


def test_a_request_whose_socket_found_no_descriptor_goes_back_with_its_data(bench):
    before = open_fds()
    for flags in (0, Flag.WANTS_TAKEN):
        message = changed(flags=flags) + REQUEST
        assert refused(bench, message, [bench.accepted.fileno()], 0) is Reason.TRUNCATED_FDS
        assert bench.told_nothing() == (flags == 0)
    back, data = bench.told()
    assert back == Record(Kind.RETURN, Flag.WITHOUT_SOCKET, 7, 3, 0, len(REQUEST))
    assert data == REQUEST
    assert bench.told_nothing()
    assert open_fds() == before
    bench.good_one_arrives()


def test_a_message_of_nothing_but_a_descriptor_that_was_not_free_is_no_end(bench):
    assert refused(bench, b"", [bench.accepted.fileno()], 0) is Reason.SHORT_HEADER


@pytest.mark.parametrize("free, answer", [(0, b""), (1, b"HTTP/1.1 503 ")])
def test_without_a_descriptor_for_the_memfd_the_request_is_lost(bench, free, answer):
    message = changed(flags=Flag.WANTS_TAKEN | Flag.IN_MEMFD)
    with passing.Fds([passing.memfd_with(REQUEST)]) as memfd:
        fds = [bench.accepted.fileno(), *memfd]
        assert refused(bench, message, fds, free) is Reason.TRUNCATED_FDS
    record, fields = bench.told()
    assert (record.kind, record.id) == (Kind.DONE, 7)
    assert decode_fields(fields).get(Field.STATUS) == ((503).to_bytes(2, "little") if answer else None)
    bench.accepted.close()
    assert bench.client.recv(13) == answer


def test_what_had_no_room_goes_back_later_and_is_kept_within_limits(bench):
    with contextlib.suppress(BlockingIOError):
        while True:
            bench.worker_end.send(b"", socket.MSG_DONTWAIT)
    data = REQUEST.ljust(60_000)
    message = changed(flags=Flag.WANTS_TAKEN, data_length=len(data)) + data
    for _ in range(30):
        refused(bench, message, [bench.accepted.fileno()], 0)
    while not bench.server.recv(1, socket.MSG_PEEK):
        bench.server.recv(1)
        if bench.told_nothing():
            bench.queue.flush()
    count = 0
    while not bench.told_nothing():
        assert bench.told()[1] == data
        bench.queue.flush()
        count += 1
    assert count == UNSENT_MAX // len(message)


def test_without_a_descriptor_for_a_memfd_a_socket_is_not_given_back(bench):
    bench.send(encode(GOOD) + REQUEST, [bench.accepted.fileno()])
    with bench.queue.receive() as handoff:
        with few_descriptors():
            assert not handoff.give_back(b"x" * 65537)
        assert handoff.give_back(b"x" * 65537)


def received(bench, head, rest=b"", flags=Flag.WANTS_TAKEN):
    message = changed(flags=flags, head_length=len(head), data_length=len(head + rest)) + head + rest
    bench.send(message, [bench.accepted.fileno()])
    bench.accepted.close()
    return bench.queue.receive()


HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n%s\r\n"
BODIES = {  # fields and what came of the body: whether the client may still send
    "none": (b"", b"", False),
    "empty": (b"Content-Length: 0\r\n", b"", False),
    "whole": (b"Content-Length: 3\r\n", b"abc", False),
    "part": (b"Content-Length: 4\r\n", b"abc", True),
    "small letters, no blank": (b"x: y\r\ncontent-length:4\r\n", b"", True),
    "folded": (b"Content-Length:\r\n 4\r\n", b"", True),
    "chunks": (b"Transfer-Encoding: chunked\r\n", b"", True),
    "both": (b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", b"", True),
    "only in a value": (b"X: Content-Length: 4\r\n", b"", False),
    "only alike": (b"X-Content-Length: 4\r\n", b"", False),
}


@pytest.mark.parametrize("fields, rest, sends", BODIES.values(), ids=BODIES.keys())
def test_what_a_client_may_still_send_is_lingered_for(bench, fields, rest, sends):
    handoff = received(bench, HEAD % fields, rest)
    handoff.close(413, 2)
    record, section = bench.told()
    assert decode_fields(section)[Field.STATUS] == (413).to_bytes(2, "little")
    if sends:
        assert record.kind == Kind.RETURN and record.flags & Flag.END_CONNECTION
    else:
        assert record.kind == Kind.DONE
        assert bench.client.recv(1) == b""
    assert handoff.sock.fileno() < 0 and bench.told_nothing()


def test_a_body_that_was_read_is_not_lingered_for_but_what_waits_is(bench):
    for waits, kind in ((b"", Kind.DONE), (b"x", Kind.RETURN)):
        bench.client, bench.accepted = socket.socketpair()
        bench.client.send(waits)
        with received(bench, HEAD % BODIES["chunks"][0]) as handoff:
            handoff.read_in_full = True
        assert bench.told()[0].kind == kind


@pytest.mark.parametrize("waits", [False, True])
def test_without_a_server_a_client_is_lingered_for_within_bounds(bench, waits):
    handoff = received(bench, HEAD % BODIES["part"][0])
    bench.server.close()
    handoff.sock.settimeout(20 if waits else 0)
    end = threading.Timer(0.2, bench.client.close)
    bench.client.send(b"x" * 1000)
    end.start()
    handoff.close()
    assert bench.client.fileno() < 0 or not waits  # it has waited, or not
    end.join()


def test_an_aborted_connection_is_reset(bench):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        bench.client = socket.create_connection(listener.getsockname(), timeout=20)
        bench.accepted = listener.accept()[0]
    received(bench, HEAD % b"").abort(200, 5)
    assert bench.told()[0].kind == Kind.DONE
    with pytest.raises(ConnectionResetError):
        bench.client.recv(1)


def test_a_return_without_the_socket_never_follows_a_taken(bench):
    """Two threads: then the server has let go of its own descriptor."""
    for _ in range(300):
        bench.client, bench.accepted = socket.socketpair()
        handoff = received(bench, REQUEST)
        thread = threading.Thread(target=handoff.taken)
        thread.start()
        assert handoff.give_back()
        thread.join()
        first = bench.told()[0]
        if first.kind == Kind.TAKEN:
            first = bench.told()[0]
            assert first.flags == 0
        assert first.kind == Kind.RETURN and bench.told_nothing()


# Paths to listen on

KINDS = pytest.mark.parametrize("kind", [socket.SOCK_SEQPACKET, socket.SOCK_STREAM])


def bound(path, kind, listens):
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.bind(path)
    if listens:
        sock.listen(0)
    return sock


@KINDS
def test_an_orphaned_file_is_replaced(tmp_path, kind):
    path = str(tmp_path / "socket")
    bound(path, kind, True).close()
    with listen_unix(path, kind), socket.socket(socket.AF_UNIX, kind) as client:
        client.connect(path)


@KINDS
def test_accepted_connections_do_not_keep_a_path(tmp_path, kind):
    """They have its name, and may outlive the listener in another process."""
    path = str(tmp_path / "socket")
    with bound(path, kind, True) as listener, socket.socket(socket.AF_UNIX, kind) as client:
        client.connect(path)
        with listener.accept()[0]:
            listener.close()
            with listen_unix(path, kind), socket.socket(socket.AF_UNIX, kind) as other:
                other.connect(path)


@KINDS
@pytest.mark.parametrize("listens", [False, True], ids=["not yet listening", "listening"])
@pytest.mark.parametrize("relative", [False, True])
def test_a_socket_that_somebody_has_open_is_not_replaced(tmp_path, monkeypatch, kind, listens, relative):
    monkeypatch.chdir(tmp_path)
    path = "socket" if relative else str(tmp_path / "socket")
    with bound(path, kind, listens) as other:
        with pytest.raises(OSError) as error:
            listen_unix(path, socket.SOCK_SEQPACKET)
        assert error.value.errno == errno.EADDRINUSE
        with pytest.raises(SystemExit, match="cannot listen on .*socket: another program"):
            find_sources(path)
        other.listen()
        with socket.socket(socket.AF_UNIX, kind) as client:
            client.connect(path)


@KINDS
def test_a_full_backlog_blocks_nobody(tmp_path, kind):
    path = str(tmp_path / "socket")
    with bound(path, kind, True), contextlib.ExitStack() as stack:
        with contextlib.suppress(BlockingIOError):
            while True:
                client = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
                client.setblocking(False)
                client.connect(path)
        with pytest.raises(OSError) as error:
            listen_unix(path, kind)
        assert error.value.errno == errno.EADDRINUSE


def test_what_is_no_socket_stays(tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(OSError):
        listen_unix(str(tmp_path / "file"), socket.SOCK_STREAM)
    assert (tmp_path / "file").read_text() == "precious"


def test_of_many_that_start_at_once_one_has_the_path(tmp_path):
    """Each finds the orphaned file; none removes another's socket."""
    path = str(tmp_path / "socket")
    bound(path, socket.SOCK_STREAM, True).close()
    for _ in range(20):
        sockets, start = [], threading.Barrier(4)

        def listen():
            start.wait()
            with contextlib.suppress(OSError):
                sockets.append(listen_unix(path, socket.SOCK_STREAM))
        threads = [threading.Thread(target=listen) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(sockets) == 1
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            sockets[0].accept()[0].close()
        sockets[0].close()


# The loop and its threads

def test_what_had_no_room_is_said_later_by_a_worker_that_does_nothing_else(bench):
    with contextlib.suppress(BlockingIOError):
        while True:
            bench.worker_end.send(b"x", socket.MSG_DONTWAIT)
    for number in range(3):
        bench.queue.tell(Record(Kind.TAKEN, id=number))
    notes = []
    while len(notes) < 3:
        assert select.select([bench.server], [], [], 20)[0]
        note = bench.server.recv(100)
        notes += [note] if len(note) > 1 else []
    assert [decode(note, 0).id for note in notes] == [0, 1, 2]


def test_a_pool_is_never_left_full_and_free(bench):
    """Whoever was told that it is full is told, or asked, when it is not."""
    free, jobs = threading.Event(), []
    pool = Pool(2, lambda: jobs.pop() if jobs else None, free.set)
    pool.start()
    for _ in range(2000):
        pool.submit(lambda: None)
        free.clear()
        if pool.is_full():
            assert free.wait(20)
            assert not pool.is_full()


def test_threads_fetch_their_next_jobs(bench):
    done, jobs = threading.Semaphore(0), [lambda: done.release() for _ in range(100)]
    gate, free = threading.Event(), threading.Event()
    pool = Pool(1, lambda: jobs.pop() if jobs else None, free.set)
    pool.start()
    pool.submit(gate.wait)
    assert pool.is_full()
    gate.set()
    for _ in range(100):
        assert done.acquire(timeout=20)
    assert free.wait(20) and not jobs


def test_what_is_long_at_work_is_taken(bench, monkeypatch):
    at_work = AtWork()
    handoff = received(bench, REQUEST)
    at_work.add(handoff)
    at_work.tell()
    assert bench.told_nothing()
    monkeypatch.setattr(fdworker.at_work, "TAKEN_AFTER", 0)
    at_work.tell()
    at_work.tell()
    assert bench.told()[0].kind == Kind.TAKEN and bench.told_nothing()
    at_work.remove(handoff)
    assert not at_work


@pytest.mark.parametrize("threads", [-1, -100])
def test_serve_refuses_what_is_out_of_range(threads):
    with pytest.raises(ValueError, match="threads"):
        fdworker.serve(print, threads=threads)


def test_a_message_is_split_into_its_records():
    notes = [encode(Record(Kind.HELLO)), encode(Record(Kind.TAKEN, id=1)),
             encode(Record(Kind.RETURN, Flag.WITHOUT_SOCKET, 2, 0, 0, 3)) + b"abc",
             encode(Record(Kind.RETURN, Flag.IN_MEMFD, 3, 0, 0, 70000)), encode(GOOD) + REQUEST]
    assert list(split(b"".join(notes))) == notes
    assert list(split(notes[0] + b"x")) == [notes[0], b"x"]
    assert list(split(encode(GOOD) + b"x")) == [encode(GOOD) + b"x"]
    assert list(split(b"")) == [b""]


def test_a_queue_rests_until_a_descriptor_is_free_or_it_ends(bench):
    with few_descriptors():
        assert not may_go_on(bench.queue)
        bench.send(encode(GOOD) + REQUEST, [bench.accepted.fileno()])
        assert not may_go_on(bench.queue)  # it would come to nothing
    assert may_go_on(bench.queue)
    with bench.queue.receive() as handoff:
        assert handoff.data == REQUEST
    bench.server.close()
    with few_descriptors():
        assert may_go_on(bench.queue)
        with pytest.raises(QueueClosed):
            bench.queue.receive()


def test_a_queue_that_rests_is_not_read_before_its_time(bench):
    """Whatever pause() and resume() say meanwhile; and not afterwards if they say so."""
    async def run():
        loop, received, over = asyncio.get_running_loop(), asyncio.Queue(), asyncio.Event()
        intake = Intake(Sources(bench.queue), received.put_nowait)
        assert bench.told()[0].kind == Kind.HELLO
        bench.send(changed(flags=Flag.WANTS_TAKEN) + REQUEST, [bench.accepted.fileno()])
        with few_descriptors():
            while bench.told_nothing():
                await asyncio.sleep(0)
        intake.pause()
        intake.resume()
        assert not loop.remove_reader(bench.queue.fileno())

        bench.send(encode(GOOD) + REQUEST, [bench.accepted.fileno()])
        with await asyncio.wait_for(received.get(), 20) as handoff:
            assert handoff.data == REQUEST
        bench.told()
        bench.send(changed(flags=Flag.WANTS_TAKEN) + REQUEST, [bench.accepted.fileno()])
        with few_descriptors():
            while bench.told_nothing():
                await asyncio.sleep(0)
        intake.stop()
        loop.call_later(PAUSE, over.set)
        await over.wait()
        assert not loop.remove_reader(bench.queue.fileno())
    asyncio.run(run())
