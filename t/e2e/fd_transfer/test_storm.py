# SPDX-License-Identifier: BSD-3-Clause
"""Under load, a worker is killed every 200 ms: nobody notices."""
import os
import re
import signal
import subprocess
import threading

import pytest

from service import STATUS, counters, fuller, get, request, service, wait_for_counter, workers

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
                                          ("return", "Connection: keep-alive")])
def test_a_worker_is_killed_every_200_ms(start, stage, mode, header):
    server = start("server.max-keep-alive-requests = 65535\n"
                   + STATUS + service(**fuller(mode, workers=4, stage=stage)),
                   modules=["mod_status"])
    wait_for_counter(server, "started", 4)
    server.wait_until(lambda: request(server, get("/hot/")) and
                      sum(counters(server)[name] for name in ("taken", "returned")) > 4, "hello")
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
