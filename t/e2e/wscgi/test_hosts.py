# SPDX-License-Identifier: BSD-3-Clause
"""Several machines, as network namespaces: hosts of daemons behind one lighttpd.

The namespaces hang on one bridge with addresses of its own, so that nothing else of this machine
is touched. Making them takes root, in a container also the right to; without it the tests are
skipped, and say so.
"""
import asyncio
import contextlib
import itertools
import os
import subprocess
import sys
import time

import pytest
import websockets
from conftest import server_directive

pytestmark = pytest.mark.skipif(
    subprocess.run(["unshare", "--net", "true"], check=False, stderr=subprocess.DEVNULL).returncode,
    reason="NOT TESTED: several hosts; we may not make network namespaces")

DAEMON = """
import os, socket, sys, threading
def serve(connection):
    with connection:
        while data := connection.recv(65536):
            connection.sendall(sys.argv[1].encode())
listening = socket.create_server((sys.argv[1], 9000), backlog=64)
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()
"""


def ip(*words):
    subprocess.run(["ip", *words], check=True)


class Network:
    """Hosts 10.77.0.N, each in a namespace; the server's own namespace is the test's."""

    numbers = itertools.count()

    def __init__(self):
        # Never the same again: the kernel takes its time to remove a namespace's interfaces.
        self.tag = f"wt{os.getpid()}n{next(self.numbers)}"
        self.bridge = f"{self.tag}b"
        self.names, self.daemons = {}, {}

    def __enter__(self):
        ip("link", "add", self.bridge, "type", "bridge")
        ip("addr", "add", "10.77.0.254/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")
        return self

    def __exit__(self, *_):
        for number in list(self.daemons):
            self.end_daemon(number)
        for name in self.names.values():
            ip("netns", "del", name)
        ip("link", "del", self.bridge)

    def add_host(self, number):
        name = self.names[number] = f"{self.tag}-{number}"
        outer = f"{self.tag}v{number}"
        ip("netns", "add", name)
        ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", outer, "master", self.bridge, "up")
        self.ip_of(number, "addr", "add", f"10.77.0.{number}/24", "dev", "eth0")
        self.ip_of(number, "link", "set", "eth0", "up")
        self.ip_of(number, "link", "set", "lo", "up")

    def inside(self, number, *command):
        """That command in the host. `ip netns exec` would do more, and not everywhere."""
        return ["nsenter", f"--net=/run/netns/{self.names[number]}", *command]

    def ip_of(self, number, *words):
        subprocess.run(self.inside(number, "ip", *words), check=True)

    def start_daemon(self, number):
        process = self.daemons[number] = subprocess.Popen(
            self.inside(number, sys.executable, "-c", DAEMON, f"10.77.0.{number}"),
            stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"ready\n"

    def end_daemon(self, number):
        process = self.daemons.pop(number)
        process.kill()
        process.wait()
        process.stdout.close()

    def cut_off(self, number):
        """The host vanishes: no packet comes back."""
        ip("link", "set", f"{self.tag}v{number}", "down")

    def silence(self, number):
        """The host hears, and its answers are lost: connecting ends by no error of the network."""
        self.ip_of(number, "route", "add", "blackhole", "10.77.0.254/32")

    def revive(self, number, death):
        if death == "end_daemon":
            self.start_daemon(number)
        elif death == "cut_off":
            ip("link", "set", f"{self.tag}v{number}", "up")
        else:
            self.ip_of(number, "route", "del", "blackhole", "10.77.0.254/32")


@pytest.fixture
def network():
    with Network() as made:
        for number in (1, 2, 3):
            made.add_host(number)
            made.start_daemon(number)
        yield made


def endpoint(**options):
    return {"/ws": {"model": "daemon", "host": [f"10.77.0.{n}" for n in (1, 2, 3)], "port": 9000,
                    "framing": "stream", "message-type": "text", "retry-interval": 1,
                    "connect-timeout": 3, **options}}


async def who_answers(server, count):
    """Opens so many sessions at once. Who has answered each."""
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(websockets.connect(server.url("/ws", "ws")))
                   for _ in range(count)]
        for client in clients:
            await client.send("who?")
        return [await client.recv() for client in clients]


def test_sessions_are_spread_over_the_hosts(serve, network):
    server = serve(endpoint())
    names = asyncio.run(who_answers(server, 12))
    assert sorted(map(names.count, set(names))) == [4, 4, 4]


def test_two_servers_that_share_nothing_use_the_same_hosts(serve, network):
    servers = [serve(endpoint()), serve(endpoint())]

    async def talk():
        return await asyncio.gather(*(who_answers(server, 6) for server in servers))
    for names in asyncio.run(talk()):
        assert sorted(map(names.count, set(names))) == [2, 2, 2]


DEATHS = pytest.mark.parametrize("death", ["end_daemon", "cut_off", "silence"])


@DEATHS
def test_a_dead_host_is_skipped_and_tried_again(serve, network, death):
    """Dead means that it refuses, is not there, or does not answer."""
    server = serve(endpoint())
    getattr(network, death)(2)
    started = time.monotonic()
    names = asyncio.run(who_answers(server, 6))
    assert set(names) <= {"10.77.0.1", "10.77.0.3"}
    assert time.monotonic() - started < 20
    network.revive(2, death)
    server.wait_until(lambda: "10.77.0.2" in asyncio.run(who_answers(server, 3)),
                      "the host to be used again", timeout=40)


@DEATHS
def test_no_host_means_503_in_bounded_time(serve, network, death):
    server = serve(endpoint())
    for number in (1, 2, 3):
        getattr(network, death)(number)
    started = time.monotonic()
    with pytest.raises(websockets.InvalidStatusCode) as refusal:
        asyncio.run(who_answers(server, 1))
    assert refusal.value.status_code == 503
    assert time.monotonic() - started < 3 + 3  # connect-timeout, and what times rounded to seconds add
    server.wait_for("no daemon answers: .*10.77.0.")
