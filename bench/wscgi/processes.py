# SPDX-License-Identifier: BSD-3-Clause
"""What /proc says about a contender: its server, and whatever runs behind it."""
import os
import pathlib

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def _stat(pid):
    """The fields of /proc/PID/stat from `state` (field 3) on."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def _stats():
    """All processes: pid -> its fields."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                found[int(entry)] = _stat(entry)
            except (FileNotFoundError, ProcessLookupError):
                pass
    return found


def tree(roots, stats=None):
    """The given processes that live, and all that descend from them."""
    stats = stats or _stats()
    found = [pid for pid in roots if pid in stats]
    for ancestor in found:
        found += [pid for pid, fields in stats.items() if int(fields[1]) == ancestor]
    return found


def cpu(roots):
    """Seconds of CPU that the processes, their descendants and those of them that have ended (and
    were waited for) have used, user and system."""
    stats = _stats()
    return sum(int(field) for pid in tree(roots, stats) for field in stats[pid][11:15]) / TICKS


def own_cpu(pid):
    """Seconds of CPU that the process's threads have used themselves, user and system."""
    return sum(int((thread / "schedstat").read_text().split()[0])
               for thread in pathlib.Path(f"/proc/{pid}/task").iterdir()) / 1e9


def rss(pid):
    """Resident memory in bytes."""
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
