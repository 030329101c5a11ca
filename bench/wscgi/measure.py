# SPDX-License-Identifier: BSD-3-Clause
"""One measurement of one contender that runs. Each starts the load generator and watches the
contender through /proc meanwhile."""
import json
import subprocess
import time

import processes

MEMORY_ENOUGH = 1 << 30  # bytes a server may grow by before the measurement ends


class Failed(Exception):
    """The contender did not do the work; the text says what happened."""


class Load:
    """The load generator against one target, as a context manager: inside, all its connections
    are open and wait for go()."""

    def __init__(self, directory, contender, target, *options):
        self.command = [str(directory / "load"), "--port", str(target.port), "--path", target.path,
                        "--wait", *map(str, options)]
        self.command += ["--stream"] * contender.stream + ["--text"] * contender.text
        self.command += ["--deflate"] * contender.deflate
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True,
                                        errors="replace")
        line = self.process.stdout.readline()
        if line != "ready\n":
            self.__exit__()
            raise Failed(json.loads(line)["error"] if line else "the load generator ended")
        return self

    def go(self):
        """Lets it work. What it reports."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        result = json.loads(self.process.stdout.readline())
        if result["error"]:
            raise Failed(result["error"])
        return result

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()


def work(running, load):
    """Throughput: messages per second, and the contender's CPU seconds for one."""
    with load:
        before = processes.cpu(running.pids())
        result = load.go()
        used = processes.cpu(running.pids()) - before
    if not result["done"]:
        raise Failed("nothing came back")
    return {"rate": result["per_second"], "cpu": used / result["done"], "p99": result["p99"],
            "load": result["cpu"] / result["seconds"]}


def sessions(running, target, load):
    """As work(), of sessions. `rest`: CPU seconds for one that are not the server's own."""
    with load:
        before, own_before = processes.cpu(running.pids()), processes.own_cpu(target.server)
        result = load.go()
        own = processes.own_cpu(target.server) - own_before
        used = processes.cpu(running.pids()) - before
    if not result["done"]:
        raise Failed("nothing came back")
    return {"rate": result["per_second"], "cpu": used / result["done"],
            "rest": (used - own + result["cpu"]) / result["done"]}


def fan_out(target, load):
    """CPU seconds of the server, without its program, for each message that came to a client."""
    with load:
        before = processes.own_cpu(target.server)
        result = load.go()
        used = processes.own_cpu(target.server) - before
    if not result["done"]:
        raise Failed("nothing came back")
    return {"rate": result["per_second"], "cpu": used / result["done"]}


def idle_memory(target, load, sessions):
    """Bytes that the server, without its programs, needs more for each session that is open."""
    before = processes.rss(target.server)
    with load:
        return (processes.rss(target.server) - before) / sessions


def unread_memory(target, load, seconds, meanwhile):
    """Bytes the server has grown by with clients that do not read, when it has stopped growing or
    after so many seconds; and what meanwhile() returned then."""
    before = processes.rss(target.server)
    with load:
        deadline = time.monotonic() + seconds
        growth = 0
        settled = time.monotonic()
        while time.monotonic() < deadline and growth < MEMORY_ENOUGH:
            time.sleep(0.1)
            now = processes.rss(target.server) - before
            if now > growth * 1.01 + 65536:
                growth, settled = now, time.monotonic()
            if time.monotonic() - settled > 2:
                break
        return growth, meanwhile()
