# SPDX-License-Identifier: BSD-3-Clause
"""What stands before a worker in the tests: fdworker-cat, or a real lighttpd at either stage.

All give the same: url(), worker_pids(), worker_statuses(), worker_output(), stop().
"""
import contextlib
import itertools
import os
import pathlib
import re
import resource
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


def has_unix_sockets_only(pid):
    """True once all clients' descriptors are closed. (Who has both ends behind it is no connection
    any more, and may still be open.)"""
    unix = {line.split()[6] for line in
            pathlib.Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]}
    inodes = (re.fullmatch(r"socket:\[(\d+)\]", name) for name in processes.fds(pid).values())
    return all(inode[1] in unix for inode in inodes if inode)


@contextlib.contextmanager
def few_descriptors(pid, free=0):
    """The process has no more than `free` descriptors left, until the end of the `with`."""
    in_use = processes.fds(pid)
    unused = (fd for fd in itertools.count() if fd not in in_use)
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    limit = next(itertools.islice(unused, free, None))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limits[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


@contextlib.contextmanager
def stopped(pid):
    """The process does nothing until the end of the `with`."""
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: processes.is_stopped(pid), f"process {pid} to stop")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


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

    def worker_output(self):
        return self.log_text()

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

    def __init__(self, make, stage, command, workers=2, prefix="/hot/", extra=""):
        self.raw = stage == "raw"
        self.server = make(
            f'fd-transfer.server = ( "{prefix}" => ( "bin-path" => "{" ".join(map(str, command))}",'
            f' "workers" => {workers}, "stage" => "{stage}" ) )\n'
            'server.feature-flags = ( "server.h2c" => "disable" )\n' + extra,
            modules=["mod_fd_transfer"],
            environment={name: ENVIRONMENT[name]
                         for name in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")})
        self.server.start()
        self.port = self.server.port

    def log_text(self):
        return self.server.log_text()

    def worker_output(self):
        return self.server.output.read_text()

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
