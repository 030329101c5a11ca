# SPDX-License-Identifier: BSD-3-Clause
"""Under load, a worker is killed every 200 ms: nobody notices."""
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

from service import (STATUS, counters, fuller, get, read_response, request, service,
                     wait_for_counter, workers)

SECONDS = int(os.environ.get("STORM_SECONDS", "30"))


def wrk(server, path, *headers, seconds=SECONDS):
    """(requests, errors, output) of so many seconds of load from 32 connections."""
    fields = [word for header in headers for word in ("-H", header)]
    output = subprocess.run(["wrk", "-t1", "-c32", "--timeout", "10s", f"-d{seconds}s", *fields, server.url(path)],
                            capture_output=True, text=True, check=True).stdout
    errors = sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", output)))
    errors += sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", output)))
    return int(re.search(r"(\d+) requests in", output)[1]), errors, output


class Killer(threading.Thread):
    """kill -9 of one worker after the other, until stop()."""

    def __init__(self):
        super().__init__(daemon=True)
        self.done = threading.Event()
        self.kills = 0

    def run(self):
        while not self.done.wait(0.2):
            if pids := workers():
                os.kill(pids[self.kills % len(pids)], signal.SIGKILL)
                self.kills += 1

    def stop(self):
        self.done.set()
        self.join()


@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize("mode, header", [("close", "Connection: close"),
                                          ("return", "Connection: keep-alive"),
                                          ("close batches", "Connection: close"),
                                          ("return batches", "Connection: keep-alive")])
def test_a_worker_is_killed_every_200_ms(start, stage, mode, header):
    server = start("server.max-keep-alive-requests = 65535\n"
                   + STATUS + service(**fuller(mode, workers=4, stage=stage)),
                   modules=["mod_status"])
    wait_for_counter(server, "started", 4)
    server.wait_until(lambda: request(server, get("/hot/")) and
                      sum(counters(server)[name] for name in ("taken", "returned")) > 4, "hello")
    server.wait_for_no_client()
    fds, rss = len(server.fds()), server.rss()
    killer = Killer()
    killer.start()
    requests, errors, output = wrk(server, "/hot/", header)
    killer.stop()
    now = counters(server)
    print(output, now, f"kills {killer.kills}, fds {fds} -> {len(server.fds())}, "
          f"rss {rss} -> {server.rss()}")
    assert requests > 100 and killer.kills > SECONDS
    assert errors == 0, (output, now)
    server.wait_until(lambda: len(server.fds()) <= fds, "descriptors as before")
    assert server.rss() < rss + 8_000_000


class Client(threading.Thread):
    """Asks on a connection that it keeps open, until stop(). A server may end such a connection
    between two requests, so what found no answer at all is asked again on a fresh one, as browsers
    do. An answer that is cut off, or three connections in vain, are failures."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server = server
        self.done = threading.Event()
        self.answers, self.reopened, self.failures = 0, 0, []

    def run(self):
        sock, vain = self.server.connect(), 0
        while not self.done.is_set():
            try:
                sock.sendall(get("/hot/"))
                begun = sock.recv(1, socket.MSG_PEEK)
            except (ConnectionResetError, BrokenPipeError):
                begun = b""
            if begun:
                try:
                    status, _, body = read_response(sock)
                    if status != 200 or not body.startswith(b"worker "):
                        self.failures.append((status, body))
                    self.answers, vain = self.answers + 1, 0
                    continue
                except (EOFError, OSError) as error:
                    self.failures.append(error)
            vain += 1
            if vain == 3:
                self.failures.append("no answer on three connections")
            self.reopened += 1
            sock.close()
            sock = self.server.connect()
        sock.close()

    def stop(self):
        self.done.set()
        self.join(30)
        assert not self.is_alive(), "a client waits for an answer"


@pytest.mark.timeout(SECONDS + 60)
def test_reloads_while_workers_are_killed(start, stage):
    """Keep-alive clients, a worker killed every 200 ms, SIGUSR1 every 2 s."""
    server = start("server.max-keep-alive-requests = 65535\n"
                   + STATUS + service(**fuller("return batches", workers=4, stage=stage)),
                   modules=["mod_status"])
    wait_for_counter(server, "started", 4)
    clients, killer = [Client(server) for _ in range(8)], Killer()
    for thread in (*clients, killer):
        thread.start()
    reloads = max(3, SECONDS // 3)
    for _ in range(reloads):
        time.sleep(2)  # load between the reloads
        server.reload()
    killer.stop()
    for client in clients:
        client.stop()
    answers, reopened = sum(c.answers for c in clients), sum(c.reopened for c in clients)
    failures = [failure for client in clients for failure in client.failures]
    print(f"answers {answers}, opened anew {reopened}, kills {killer.kills}, reloads {reloads}",
          failures, counters(server))
    assert answers > 100 and killer.kills > reloads
    assert not failures, failures
