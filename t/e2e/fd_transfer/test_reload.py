# SPDX-License-Identifier: BSD-3-Clause
"""SIGUSR1 and SIGTERM: nobody's request fails, workers finish what they hold."""
import os
import signal
import subprocess
import threading
import time

import pytest

import processes
from service import (HERE, STATUS, counters, fuller, get, read_response, report, request, service,
                     wait_for_counter, workers)
from test_storm import wrk


# lighttpd leaves its connections to a process that it forks.
IN_BACKGROUND = 'server.feature-flags += ( "server.graceful-restart-bg" => "enable" )\n'


@pytest.mark.parametrize("mode, config", [("close", ""), ("return", ""), ("simple", ""),
                                          ("return", IN_BACKGROUND)])
def test_reload_under_load_fails_no_request(start, stage, mode, config):
    options = {} if mode == "simple" else fuller(mode)
    server = start(config + service(workers=2, stage=stage, grace=20, **options))
    request(server, get("/hot/"))
    result = []
    load = threading.Thread(target=lambda: result.extend(
        wrk(server, "/hot/", "Connection: close", seconds=8)))
    load.start()
    for _ in range(3):
        time.sleep(1.5)  # load before, between and after the reloads
        server.reload()
    load.join()
    requests, errors, output = result
    assert requests > 100 and errors == 0, output


def start_holding(start, stage):
    """A server that keeps the connections it hands over, since its workers have said hello."""
    server = start(STATUS + service(**fuller("close", workers=2, stage=stage, grace=20)),
                   modules=["mod_status"])
    wait_for_counter(server, "started", 2)
    server.wait_until(lambda: request(server, get("/hot/")) and counters(server)["taken"], "hello")
    return server


def test_reload_does_not_wait_for_long_responses(start, stage):
    """A worker holds a response for 6 seconds; lighttpd serves again long before, and the
    response is finished."""
    server = start_holding(start, stage)
    with server.connect() as sock:
        sock.sendall(get("/hot/pause/6"))
        wait_for_counter(server, "untaken", 1)
        began = time.monotonic()
        server.reload()
        assert request(server, get("/hot/"))[0] == 200
        assert time.monotonic() - began < 4.5
        assert read_response(sock)[0] == 200


def test_reload_takes_the_new_configuration(start, stage):
    server = start(service(prefix="/old/", stage=stage))
    report(request(server, get("/old/")))
    server.set_config(service(prefix="/new/", stage=stage))
    server.reload()
    report(request(server, get("/new/")))
    assert request(server, get("/old/"))[0] == 404


@pytest.mark.parametrize("config", ["", IN_BACKGROUND])
def test_reloads_leak_nothing(start, stage, config):
    server = start(config + service(workers=2, stage=stage, grace=1))
    server.reload()
    request(server, get("/hot/"))
    server.wait_for_no_client()
    before = len(server.fds())
    for _ in range(5):
        server.reload()
        request(server, get("/hot/"))
    server.wait_until(lambda: len(workers("report_worker")) == 2, "old workers to leave")
    server.wait_until(lambda: len(server.fds()) <= before, "no descriptors left over")


def test_stop_lets_a_response_finish(start, stage):
    server = start_holding(start, stage)
    with server.connect() as sock:
        sock.sendall(get("/hot/pause/1"))
        wait_for_counter(server, "untaken", 1)
        server.stop()
        assert read_response(sock)[0] == 200


def test_workers_that_do_not_end_are_killed_after_the_grace(start, tmp_path):
    script = tmp_path / "stubborn"
    script.write_text(f"#!/bin/sh\ntrap '' TERM\necho $$ >{tmp_path}/pid\n"
                      "while :; do sleep 1; done\n")
    script.chmod(0o755)
    server = start(service(bin_path=str(script), grace=1))
    pid = int(server.wait_until(lambda: (tmp_path / "pid").exists()
                                and (tmp_path / "pid").read_text(), "the worker"))
    began = time.monotonic()
    server.stop(orphans_may_live=10)
    assert 1.5 < time.monotonic() - began < 8
    assert not processes.alive(pid)


def test_workers_end_when_lighttpd_is_killed(start, stage):
    server = start(service(workers=2, stage=stage))
    server.wait_until(lambda: len(workers("report_worker")) == 2, "the workers")
    server.kill()
    assert processes.end_orphans(10) == []
