# SPDX-License-Identifier: BSD-3-Clause
"""What /proc says about processes, and who has been left behind.

The test process adopts orphans (PR_SET_CHILD_SUBREAPER): whatever a server started and did not
end becomes our child when the server ends, and is found by end_orphans(). Processes that tests
start themselves through `subprocess` are known and left alone.
"""
import ctypes
import os
import pathlib
import signal
import subprocess
import time

PR_SET_CHILD_SUBREAPER = 36
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
LISTENING = "0A"  # in /proc/net/tcp

_own_children = set()


def adopt_orphans():
    """To be called once, before any process is started."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    start = subprocess.Popen.__init__

    def remember(self, *arguments, **options):
        start(self, *arguments, **options)
        _own_children.add(self.pid)
    subprocess.Popen.__init__ = remember


def _stat(pid):
    """The fields of /proc/PID/stat from `state` (field 3) on."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def _parents():
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parents[int(entry)] = int(_stat(entry)[1])
            except (FileNotFoundError, ProcessLookupError):
                pass
    return parents


def descendants(pid):
    parents = _parents()
    found = [pid]
    for ancestor in found:
        found += [child for child, parent in parents.items() if parent == ancestor]
    return found[1:]


def command(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def fds(pid):
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:
            pass
    return found


def connections(pid):
    """Open TCP connections of the process (accepted and made by it): the local port of each."""
    names = list(fds(pid).values())
    ports = {}
    for line in pathlib.Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] != LISTENING:
            ports[f"socket:[{fields[9]}]"] = int(fields[1].rpartition(":")[2], 16)
    return [ports[name] for name in names if name in ports]


def rss(pid):
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def cpu(pid):
    """Seconds of CPU time, user and system."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS


def orphans():
    """Children of this process that were not started by `subprocess` here."""
    me = os.getpid()
    return [pid for pid, parent in _parents().items() if parent == me and pid not in _own_children]


def reap(pid):
    """True if the orphan has ended."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def end_orphans(seconds):
    """Waits so many seconds for all orphans to end by themselves. Those that did not are killed
    and returned, as "pid command"."""
    deadline = time.monotonic() + seconds
    while (left := [pid for pid in orphans() if not reap(pid)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    report = [f"{pid} {command(pid)}" for pid in left]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return report


def parent(pid):
    return int(_stat(pid)[1])


def sleeps(pid):
    """Whether it waits for something; False when stopped."""
    return _stat(pid)[0] == "S"


def is_stopped(pid):
    """By a signal, which takes a moment; for a process that is traced, by the tracer too."""
    return _stat(pid)[0] in "Tt"


def alive(pid):
    """False for a zombie too."""
    try:
        return _stat(pid)[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
