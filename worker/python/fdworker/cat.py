# SPDX-License-Identifier: BSD-3-Clause
"""fdworker-cat: stands in for lighttpd while you develop a worker.

    fdworker-cat --port 8080 --workers 2 -- ./hello.py      starts workers, queue on fd 0
    fdworker-cat --port 8080 --connect /run/my.handoff      uses workers that listen there

It accepts TCP connections, reads a request's head and hands the socket over. Requests outside
--prefix it answers itself (404), so that giving sockets back can be tried. It prints what workers
say. No TLS, no access control, no restart of workers: that is lighttpd's work.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import socket
import subprocess
import time
from collections import deque
from typing import Iterable

from . import passing
from .queue import UNAVAILABLE
from .record import (
    HEADER,
    INLINE_MAX,
    Field,
    Flag,
    Kind,
    Reason,
    Record,
    RecordError,
    decode,
    encode,
    encode_fields,
    read,
    split,
)

HEAD_MAX = 1 << 20  # bytes
HEAD_TIMEOUT = 30.0  # seconds
LINGER = 5.0  # seconds, as lighttpd does
NOT_HANDED_OVER = (
    b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 36\r\n\r\n"
    b"fdworker-cat: outside of the prefix\n"
)


class Front:
    """The connections that are not handed over, the queue, and what comes back on it."""

    def __init__(self, queue: socket.socket, options: argparse.Namespace) -> None:
        self._queue = queue
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._backlog: deque[tuple[float, Record, bytes, bytes, socket.socket]] = deque()
        self._duplicates: dict[int, socket.socket] = {}  # by hand-off id, until `taken`
        self._said_hello = False
        self._next_id = 1
        self._heads: set[asyncio.Task[None]] = set()
        self.workers_gone = asyncio.Event()
        queue.setblocking(False)
        self._loop.add_reader(queue, self._from_worker)

    async def accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = await self._loop.sock_accept(listener)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._read_head(client, b"")

    def _read_head(self, client: socket.socket, data: bytes) -> None:
        task = asyncio.create_task(self._until_head(client, data))
        self._heads.add(task)
        task.add_done_callback(self._heads.discard)

    async def _until_head(self, client: socket.socket, data: bytes) -> None:
        try:
            while True:
                while (end := data.find(b"\r\n\r\n")) < 0:
                    more = await asyncio.wait_for(
                        self._loop.sock_recv(client, INLINE_MAX), HEAD_TIMEOUT
                    )
                    if not more or len(data) > HEAD_MAX:
                        return client.close()
                    data += more
                path = data.split(b" ", 2)[1]
                if path.startswith(self._options.prefix.encode()):
                    return self._hand_over(client, data, end + 4)
                await self._loop.sock_sendall(client, NOT_HANDED_OVER)
                data = data[end + 4 :]
        except (OSError, IndexError, asyncio.TimeoutError):
            client.close()

    def _hand_over(self, client: socket.socket, data: bytes, head_length: int) -> None:
        fcntl.fcntl(client, fcntl.F_SETOWN, os.getpid())  # nobody has received it yet
        flags = Flag.RAW_STAGE if self._options.raw else 0
        if self._said_hello:
            flags |= Flag.WANTS_TAKEN
        if self._options.memfd or len(data) > INLINE_MAX:
            flags |= Flag.IN_MEMFD
        address, port = client.getpeername()
        fields = encode_fields(
            {Field.CLIENT_ADDRESS: address, Field.CLIENT_PORT: port, Field.SCHEME: "http"}
        )
        record = Record(
            Kind.REQUEST, flags, self._next_id, 0, head_length, len(data), len(fields)
        )
        self._next_id += 1
        self._backlog.append((time.monotonic(), record, data, fields, client))
        self._send_backlog()

    def _send_backlog(self) -> None:
        while self._backlog:
            began, record, data, fields, client = self._backlog[0]
            late = time.monotonic() - began > self._options.deadline
            try:
                if not late:
                    self._send(record, data, fields, client)
            except (BlockingIOError, OSError) as error:
                if isinstance(error, BlockingIOError) or error.errno == errno.ETOOMANYREFS:
                    self._loop.call_later(0.002, self._send_backlog)
                    return
                late = True
            self._backlog.popleft()
            if late:
                with contextlib.suppress(OSError):
                    client.send(UNAVAILABLE)
            elif record.flags & Flag.WANTS_TAKEN:
                self._duplicates[record.id] = client
                continue
            client.close()

    def _send(self, record: Record, data: bytes, fields: bytes, client: socket.socket) -> None:
        with passing.Fds() as memfd:
            if record.in_memfd:
                memfd.append(passing.memfd_with(data))
            inline = b"" if memfd else data
            passing.send(self._queue, [encode(record), inline, fields], [client.fileno(), *memfd])

    def _from_worker(self) -> None:
        try:
            while True:
                message, fds, sender, _ = passing.receive(self._queue)
                if not message and not fds:
                    break
                with fds:
                    self._notes(message, fds, sender)
        except RecordError as error:
            say(f"a worker sent rubbish: {error}")
        except BlockingIOError:
            pass
        except OSError:
            self._stop_listening()
        else:
            self._stop_listening()

    def _stop_listening(self) -> None:
        self._loop.remove_reader(self._queue)
        self.workers_gone.set()

    def _notes(self, message: bytes, fds: passing.Fds, sender: int) -> None:
        for note in split(message):
            count = read(note).fds_expected
            with passing.Fds(fds[:count]) as its_fds:
                del fds[:count]
                self._note(decode(note, len(its_fds)), note, its_fds, sender)
        if fds:
            raise RecordError(Reason.TOO_MANY_FDS)

    def _note(self, record: Record, note: bytes, fds: passing.Fds, sender: int) -> None:
        duplicate = self._duplicates.pop(record.id, None)
        if record.kind == Kind.HELLO:
            self._said_hello = True
            say(f"worker {sender} says hello")
        elif record.kind == Kind.RETURN:
            data = note[HEADER.size : HEADER.size + record.data_length]
            if record.in_memfd:
                data = passing.memfd_data(fds[1], record.data_length)
            if record.without_socket:
                client, duplicate = duplicate, None
            else:
                client = socket.socket(fileno=fds.pop(0))
            if client and record.flags & Flag.END_CONNECTION:
                self._linger(client)
            elif client:
                client.setblocking(False)
                self._read_head(client, data)
            else:
                say(f"a worker returned hand-off {record.id}, which is not kept, without its socket")
        if duplicate:
            duplicate.close()

    def _linger(self, client: socket.socket) -> None:
        """Ends the connection once the client has ended its side, or after a while: closing with
        unread bytes would send a reset, which may overtake the response."""
        client.setblocking(False)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_WR)

        def close() -> None:
            self._loop.remove_reader(client)
            client.close()

        def discard() -> None:
            try:
                if client.recv(INLINE_MAX):
                    return
            except BlockingIOError:
                return
            except OSError:
                pass
            timer.cancel()
            close()

        timer = self._loop.call_later(LINGER, close)
        self._loop.add_reader(client, discard)

    def worker_died(self, pid: int) -> None:
        """Ends the connections whose duplicates show that the dead worker held them."""
        for number, duplicate in list(self._duplicates.items()):
            if fcntl.fcntl(duplicate, fcntl.F_GETOWN) in (0, pid):
                say(f"worker {pid} died with hand-off {number} unanswered")
                self._duplicates.pop(number).close()

    async def finish(self) -> None:
        """Hands over what waits, then closes the queue: the workers drain."""
        end = time.monotonic() + self._options.deadline
        while self._backlog and time.monotonic() < end:
            await asyncio.sleep(0.005)
        for task in self._heads:
            task.cancel()
        with contextlib.suppress(OSError):
            self._queue.shutdown(socket.SHUT_WR)


def say(text: str) -> None:
    with contextlib.suppress(OSError):  # whoever has started us may have stopped listening
        os.write(2, f"fdworker-cat: {text}\n".encode())


def start_workers(command: list[str], count: int) -> tuple[socket.socket, list[subprocess.Popen[bytes]]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)  # before the first hello
    with theirs:
        workers = [subprocess.Popen(command, stdin=theirs.fileno()) for _ in range(count)]
    return ours, workers


def watch(worker: subprocess.Popen[bytes], front: Front) -> None:
    loop = asyncio.get_running_loop()
    pidfd = os.pidfd_open(worker.pid)

    def died() -> None:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        say(f"worker {worker.pid} ended with status {worker.wait()}")
        front.worker_died(worker.pid)

    loop.add_reader(pidfd, died)


def connect(path: str) -> socket.socket:
    queue = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        queue.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        queue.connect(path)
    except OSError as error:
        raise SystemExit(f"fdworker-cat: no worker listens on {path}: {error.strerror}") from None
    return queue


async def run(options: argparse.Namespace) -> int:
    listener = socket.create_server(("127.0.0.1", options.port), backlog=4096)
    listener.setblocking(False)
    workers: list[subprocess.Popen[bytes]] = []
    if options.connect:
        queue = connect(options.connect)
    else:
        queue, workers = start_workers(options.command, options.workers)
    front = Front(queue, options)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    accepting = asyncio.create_task(front.accept(listener))
    for worker in workers:
        watch(worker, front)
    pids = ", workers " + " ".join(str(w.pid) for w in workers) if workers else ""
    say(f"http://127.0.0.1:{listener.getsockname()[1]}{options.prefix}{pids}")
    await asyncio.wait(
        [asyncio.create_task(e.wait()) for e in (stop, front.workers_gone)],
        return_when=asyncio.FIRST_COMPLETED,
    )
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})  # ending already
    accepting.cancel()
    await front.finish()
    return await asyncio.to_thread(wait_for, workers, options.grace)


def wait_for(workers: Iterable[subprocess.Popen[bytes]], grace: float) -> int:
    """The largest exit status; workers that do not end are killed."""
    statuses = [0]
    end = time.monotonic() + grace
    for worker in workers:
        try:
            status = worker.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.kill()
            status = worker.wait()
        statuses.append(abs(status))
    return max(statuses)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="fdworker-cat", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0, help="TCP port on 127.0.0.1 (any free one)")
    parser.add_argument("--workers", type=int, default=1, help="how many to start (1)")
    parser.add_argument("--connect", metavar="PATH", help="unix socket on which workers listen")
    parser.add_argument("--prefix", default="/", help="hand over paths that begin so (/)")
    parser.add_argument("--raw", action="store_true", help="set the flag of the raw stage")
    parser.add_argument("--memfd", action="store_true", help="data in a memfd, whatever the size")
    parser.add_argument("--deadline", type=float, default=5.0, help="seconds in a full queue (5)")
    parser.add_argument("--grace", type=float, default=30.0, help="seconds to end (30)")
    parser.add_argument("command", nargs="*", help="the worker and its arguments")
    options = parser.parse_args()
    if bool(options.command) == bool(options.connect):
        parser.error("give either a worker to start or --connect PATH")
    raise SystemExit(asyncio.run(run(options)))


if __name__ == "__main__":
    main()
