# SPDX-License-Identifier: BSD-3-Clause
"""The workers that lighttpd starts: when, how often, as whom, with what."""
import os
import pwd
import shutil
import signal
import tempfile

import pytest

import processes
from service import REPORT, STATUS, counters, get, report, request, service, workers


def test_workers_that_exit_at_once_are_started_ever_more_slowly(start, tmp_path):
    script = tmp_path / "fails"
    script.write_text(f"#!/bin/sh\ndate +%s%N >>{tmp_path}/starts\nexit 1\n")
    script.chmod(0o755)
    server = start(service(bin_path=str(script)))

    def starts():
        return [int(line) for line in (tmp_path / "starts").read_text().split()]
    server.wait_until(lambda: (tmp_path / "starts").exists() and len(starts()) > 10, "11 starts")
    gaps = [(later - earlier) / 1e6 for earlier, later in zip(starts(), starts()[1:])]
    # Milliseconds; the first is for a worker that is back at once.
    assert all(gap >= 2 ** n - 1 for n, gap in enumerate(gaps[1:])), gaps
    server.wait_for(r'fd-transfer.server "/hot/": worker \d+ exited with status 1')


def test_workers_start_on_demand(start, stage):
    server = start(STATUS + service(start="demand", stage=stage), modules=["mod_status"])
    assert counters(server)["started"] == 0 and not workers("report_worker")
    report(request(server, get("/hot/")))
    assert counters(server)["started"] == 1


def test_environment_directory_and_limits_reach_the_worker(start, tmp_path):
    script = tmp_path / "show"
    script.write_text("#!/bin/sh\n(echo args $*; echo dir $(pwd); echo files $(ulimit -n); env) "
                      f">{tmp_path}/seen.new; mv {tmp_path}/seen.new {tmp_path}/seen; sleep 100\n")
    script.chmod(0o755)
    server = start(service(bin_path=f"{script} one two", limits={"nofile": 77},
                           **{"bin-environment": {"COLOUR": "red", "PATH": "/bin"},
                              "bin-copy-environment": ["HOME"], "working-directory": "/usr"}),
                   environment={"HOME": "/home/me", "SECRET": "x"})
    seen = server.wait_until(lambda: (tmp_path / "seen").exists()
                             and (tmp_path / "seen").read_text(), "the worker")
    for line in ("args one two", "dir /usr", "files 77", "COLOUR=red", "HOME=/home/me"):
        assert f"{line}\n" in seen
    assert "SECRET" not in seen


def test_server_max_worker(start, stage):
    """Each of lighttpd's own worker processes has its queue and its pool."""
    server = start("server.max-worker = 2\n" + service(stage=stage))
    server.wait_until(lambda: len(workers("report_worker")) == 2, "two pools")
    for _ in range(20):
        report(request(server, get("/hot/")))


@pytest.fixture
def report_for_all():
    """The report worker where every user may read it, wherever this checkout is."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield shutil.copy(REPORT, folder)


def test_workers_run_as_the_user_that_is_named(start, stage, report_for_all):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    server = start(service(stage=stage, bin_path="/usr/bin/python3 -B " + report_for_all,
                           user="nobody"))
    pid = report(request(server, get("/hot/")))["pid"]
    nobody = pwd.getpwnam("nobody")
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        status = dict(line.rstrip().split(":\t", 1) for line in file)
    assert status["Uid"].split() == [str(nobody.pw_uid)] * 4
    assert status["Gid"].split() == [str(nobody.pw_gid)] * 4
    assert "0" not in status["Groups"].split()
    # They end with their supervisor all the same: whoever changes its user must ask again.
    os.kill(processes.parent(pid), signal.SIGKILL)
    server.wait_until(lambda: not processes.alive(pid), "the worker to leave")
