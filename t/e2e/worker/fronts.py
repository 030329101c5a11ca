# SPDX-License-Identifier: BSD-3-Clause
"""What stands before a worker in the tests: fdworker-cat, or a real lighttpd at either stage.

All give the same: url(), connect(), worker_pids(), worker_statuses(), stop().
"""
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import lighttpd
import processes

PYTHON_PACKAGE = lighttpd.required_path("FDWORKER_PYTHON")
SAMPLES = pathlib.Path(__file__).resolve().parents[3] / "samples" / "workers"
BUILT = pathlib.Path(lighttpd.required_path("FDWORKER_SAMPLES"))
ENVIRONMENT = dict(os.environ, PYTHONPATH=f"{PYTHON_PACKAGE}:{SAMPLES}",
                   PYTHONDONTWRITEBYTECODE="1")


def wait_until(condition, what, timeout=30):
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < deadline, f"waited {timeout} s in vain for {what}"
        time.sleep(0.01)
    return result


def _sigterm_is_in(pid, masks):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return any(int(mask, 16) & 1 << signal.SIGTERM - 1
               for mask in re.findall(rf"(?:{masks}):\s*(\w+)", text))


def handles_sigterm(pid):
    """True once the process has done more than start: it catches, blocks or ignores SIGTERM."""
    return _sigterm_is_in(pid, "SigBlk|SigIgn|SigCgt")


def has_taken_sigterm(pid):
    """True once a SIGTERM that was sent waits no more."""
    return not processes.alive(pid) or not _sigterm_is_in(pid, "SigPnd|ShdPnd")


def terminate(pid):
    """SIGTERM to a worker that is ready for it."""
    wait_until(lambda: handles_sigterm(pid), f"worker {pid} to handle SIGTERM")
    os.kill(pid, signal.SIGTERM)


def clients_held(pid):
    """How many TCP connections the process has open."""
    return len(processes.connections(pid))


class Cat:
    """fdworker-cat with workers that it starts, or (`options`) that listen by themselves."""

    raw = False

    def __init__(self, directory, command, workers=2, prefix="/hot/", options=()):
        self.log = directory / "cat.log"
        arguments = ["--prefix", prefix, "--workers", str(workers), *options]
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fdworker.cat", *arguments,
                 *(["--", *command] if command else [])],
                stdin=subprocess.DEVNULL, stderr=log, env=ENVIRONMENT)
        first = wait_until(lambda: re.search(r"http://127.0.0.1:(\d+).*\n", self.log_text()),
                           "fdworker-cat to listen")
        self.port = int(first[1])
        self._pids = [int(pid) for pid in re.findall(r"workers ([\d ]+)", first[0])[0].split()
                      ] if "workers" in first[0] else []

    def log_text(self):
        return self.log.read_text()

    def worker_pids(self):
        return self._pids

    def worker_statuses(self):
        """pid -> exit status of the workers that have ended."""
        ended = re.findall(r"worker (\d+) ended with status (-?\d+)", self.log_text())
        return {int(pid): int(status) for pid, status in ended}

    def url(self, path, scheme="http"):
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def stop(self):
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(60)
        finally:
            self._process.kill()
        assert status == 0, self.log_text()


class Lighttpd:
    """A real server with mod_fd_transfer."""

    def __init__(self, make, stage, command, workers=2, prefix="/hot/"):
        self.raw = stage == "raw"
        self.server = make(
            f'fd-transfer.server = ( "{prefix}" => ( "bin-path" => "{" ".join(map(str, command))}",'
            f' "workers" => {workers}, "stage" => "{stage}" ) )\n'
            'server.feature-flags = ( "server.h2c" => "disable" )\n',
            modules=["mod_fd_transfer"],
            environment={name: ENVIRONMENT[name]
                         for name in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")})
        self.server.start()
        self.port = self.server.port

    def log_text(self):
        return self.server.log_text()

    def worker_pids(self):
        """Those processes that have the queue on fd 0, and no longer lighttpd's file: SIGTERM kills
        who has not executed his own yet. Their parent is no child of lighttpd."""
        own = os.path.realpath(f"/proc/{self.server.pid}/exe")

        def found():
            return [pid for pid in processes.descendants(os.getpid())
                    if processes.fds(pid).get(0, "").startswith("socket:")
                    and os.path.realpath(f"/proc/{pid}/exe") != own]
        return wait_until(found, "workers")

    def worker_statuses(self):
        ended = re.findall(r"worker (\d+) .*?(?:status|code) (\d+)", self.log_text())
        return {int(pid): int(status) for pid, status in ended}

    def url(self, path, scheme="http"):
        return self.server.url(path, scheme)

    def stop(self):
        self.server.stop()
