# SPDX-License-Identifier: BSD-3-Clause
"""Programs of sessions are started by a thread: what happens while one is, and right after."""
import contextlib
import fcntl
import os
import pathlib
import signal

import pytest
from test_bad_input import RawClient, frame, request
from test_leaks import CLOSE, reset

CAT = {"bin-path": "/bin/cat", "grace": 1, "close-timeout": 1}
WORKERS = "server.max-worker = 2\n"
AT_ONCE = 16  # programs that are being started


@pytest.fixture
def hold():
    """hold(path): a program that is not executed before release(): execve(2) waits for us to give
    up a lease on the file (the kernel ends that after 45 s)."""
    with contextlib.ExitStack() as stack:
        signal_before = signal.signal(signal.SIGIO, signal.SIG_IGN)
        stack.callback(signal.signal, signal.SIGIO, signal_before)

        def take(path):
            held = Lease(path)
            stack.callback(held.release)
            return held
        yield take


class Lease:
    def __init__(self, path):
        self.fd = os.open(path, os.O_RDONLY)
        fcntl.fcntl(self.fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)

    def is_wanted(self):
        """True once somebody waits for it: the kernel says what the lease is to become."""
        return fcntl.fcntl(self.fd, fcntl.F_GETLEASE) != fcntl.F_WRLCK

    def release(self):
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


@pytest.fixture
def slow(program, hold):
    """A program, and the lease that keeps it from being executed."""
    path = program("slow", "#!/bin/sh\nexec cat\n")
    return {**CAT, "bin-path": path}, hold(path)


def ask(server, path, watch=False):
    """`watch`: the request comes in two pieces, because lighttpd does not watch a connection before
    it has to wait for it, and would not see it break off."""
    client = RawClient(server)
    text = request(path)
    if watch:
        port = client.socket.getsockname()[1]
        client.send(text[:40])
        server.wait_until(lambda: is_watched(server.pid, port), "the rest to be awaited")
        text = text[40:]
    client.send(text)
    return client


def is_watched(pid, port):
    """True if the connection from that port is in the epoll set of the process."""
    inodes = [line.split()[9] for line in pathlib.Path(f"/proc/{pid}/net/tcp").read_text()
              .splitlines()[1:] if line.split()[2].endswith(f":{port:04X}")]
    info = "".join(file.read_text() for file in pathlib.Path(f"/proc/{pid}/fdinfo").iterdir())
    return any(f"ino:{int(inode):x} " in info for inode in inodes if inode != "0")


def count(server, kind):
    """How many of its descriptors are sockets, or pipes."""
    return sum(name.startswith(kind) for name in server.fds().values())


def ask_and_wait(server, path, number, watch=False):
    """So many clients whose programs are being started, or are to be: those whose turn it is have
    both ends of three pipes in the server."""
    sockets, pipes = count(server, "socket:"), count(server, "pipe:")
    clients = [ask(server, path, watch) for _ in range(number)]
    server.wait_until(lambda: count(server, "socket:") == sockets + number, "the connections")
    wanted = min(pipes + 6 * number, pipes % 6 + 6 * AT_ONCE)
    server.wait_until(lambda: count(server, "pipe:") == wanted, "the requests")
    return clients


def idle(server):
    """The server, once it has closed the connection that has asked whether it runs."""
    server.wait_until(lambda: count(server, "socket:") == 1, "the first connection to end")
    return server


def begins(server, lease):
    server.wait_until(lease.is_wanted, "the program to be executed")


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def test_a_program_that_is_slow_to_start_holds_up_nobody_else(serve, slow):
    endpoint, lease = slow
    server = serve({"/slow": endpoint, "/shared": {**CAT, "model": "shared"}})
    client = ask(server, "/slow")
    begins(server, lease)
    with RawClient(server, request("/shared")) as other:
        other.send(frame(b"x"))
        assert other.read_frame() == (0x81, b"x")
    client.send(frame(b"early"))
    lease.release()
    client.read_head()
    assert client.status == 101
    assert client.read_frame() == (0x81, b"early")
    client.close()


def test_a_program_that_does_not_start_in_time_is_refused_and_killed_later(serve, slow):
    endpoint, lease = slow
    server = serve({"/slow": {**endpoint, "headers": "enable", "handshake-timeout": 1}})
    before = len(server.fds())
    with ask(server, "/slow") as client:
        client.read_head()
        assert client.status == 504
    server.wait_for('was not started within "handshake-timeout"')
    lease.release()
    server.wait_until(lambda: not server.children(), "the program to end")
    server.wait_until(lambda: len(server.fds()) <= before, "the descriptors to be closed")


def test_a_client_that_breaks_off_while_its_program_starts_leaves_nothing(serve, slow):
    endpoint, lease = slow
    server = idle(serve({"/slow": {**endpoint, "max-sessions": 1}}))
    before = len(server.fds())
    client = ask(server, "/slow", watch=True)
    begins(server, lease)
    reset(client)
    server.wait_until(lambda: count(server, "socket:") == 1, "the connection to end")
    lease.release()
    server.wait_until(lambda: not server.children(), "the program to end")
    server.wait_until(lambda: len(server.fds()) <= before, "the descriptors to be closed")
    with RawClient(server, request("/slow")) as next_client:
        assert next_client.status == 101


def test_a_client_that_closes_while_its_program_starts_leaves_nothing(serve, slow):
    """It may have closed its writing side only, so the session begins, and ends."""
    endpoint, lease = slow
    server = serve({"/slow": endpoint})
    before = len(server.fds())
    client = ask(server, "/slow")
    begins(server, lease)
    client.close()
    lease.release()
    # What its kernel answers to our 101 may come before its FIN is read.
    server.wait_for("(client went away without a Close|connection lost)$")
    server.wait_until(lambda: not server.children(), "the program to end")
    server.wait_until(lambda: len(server.fds()) <= before, "the descriptors to be closed")


def test_a_start_that_nobody_waits_for_any_more_does_not_begin(serve, slow, program, tmp_path):
    endpoint, lease = slow
    trace = tmp_path / "trace"
    server = idle(serve({
        "/slow": endpoint,
        "/trace": {"bin-path": program("trace.sh", f"#!/bin/sh\n: > {trace}\n")}}))
    holders = ask_and_wait(server, "/slow", 4)  # at least as many as there are threads
    begins(server, lease)
    before = len(server.fds())
    clients = ask_and_wait(server, "/trace", 20, watch=True)
    for client in clients:
        reset(client)
    server.wait_until(lambda: len(server.fds()) <= before, "the descriptors to be closed")
    lease.release()
    for client in holders:
        client.read_head()
        assert client.status == 101
        client.close()
    server.wait_until(lambda: not server.children(), "the programs to end")
    assert not trace.exists()


def test_those_who_wait_for_their_turn_get_it_when_others_leave(serve, slow):
    endpoint, lease = slow
    server = idle(serve({"/slow": endpoint, "/cat": CAT}))
    before = len(server.fds())
    starting = ask_and_wait(server, "/slow", AT_ONCE, watch=True)
    begins(server, lease)
    waiting = ask_and_wait(server, "/cat", 2 * AT_ONCE, watch=True)
    for client in starting[1::2] + waiting[::2]:
        reset(client)
    server.wait_until(lambda: count(server, "socket:") == 1 + 3 * AT_ONCE // 2, "them to leave")
    lease.release()
    for client in starting[2::2] + waiting[1::2]:
        client.read_head()
        assert client.status == 101
        client.close()
    starting[0].close()
    server.wait_until(lambda: not server.children(), "the programs to end")
    server.wait_until(lambda: len(server.fds()) <= before, "the descriptors to be closed")


def test_who_waits_too_long_for_a_turn_is_refused(serve, slow):
    endpoint, lease = slow
    server = idle(serve({
        "/slow": endpoint, "/cat": {**CAT, "headers": "enable", "handshake-timeout": 1}}))
    holders = ask_and_wait(server, "/slow", AT_ONCE)
    with ask(server, "/cat") as client:
        client.read_head()
        assert client.status == 504
    lease.release()
    for client in holders:
        client.read_head()
        assert client.status == 101
        client.close()


@pytest.mark.parametrize("config", ["", WORKERS], ids=["one", "workers"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_stops_while_programs_start_leaves_nothing(serve, slow, number, config):
    endpoint, lease = slow
    server = serve({"/slow": endpoint, "/cat": CAT}, config)
    clients = [ask(server, path) for path in ("/slow",) * 4 + ("/cat",) * 20]
    begins(server, lease)
    server.send_signal(number)
    for client in clients[::2]:
        client.close()
    lease.release()
    server.process.wait(20)
    server.stop()  # checks that nothing is left
    for client in clients:
        client.close()


def test_a_reload_while_programs_start(serve, slow):
    endpoint, lease = slow
    server = serve({"/slow": endpoint, "/cat": CAT})
    server.reload()
    descriptors = len(server.fds())
    clients = [ask(server, "/slow") for _ in range(6)]
    begins(server, lease)
    before = server.log_text().count("server started")
    server.send_signal(signal.SIGUSR1)
    server.wait_for("graceful shutdown started")
    lease.release()
    for client in clients:
        client.close()
    server.wait_until(lambda: server.log_text().count("server started") > before,
                      "server started again", timeout=20)
    server.wait_until(lambda: not server.children(), "the programs to end")
    with RawClient(server, request("/cat")) as client:
        assert client.status == 101
    server.wait_until(lambda: len(server.fds()) <= descriptors, "the descriptors to be closed")


@pytest.mark.parametrize("config", ["", WORKERS], ids=["one", "workers"])
def test_two_hundred_sessions_at_once_leave_nothing(serve, config):
    server = serve({"/cat": CAT, "/true": {"bin-path": "/bin/true"}}, config)
    servers = server.wait_until(lambda: [server.pid] if not config else
                                len(server.children()) == 2 and server.children(), "the workers")
    children = len(server.children())
    descriptors = [len(os.listdir(f"/proc/{pid}/fd")) for pid in servers]
    for leave in (RawClient.close, reset):
        clients = [ask(server, ("/cat", "/true")[number % 2]) for number in range(200)]
        for client in clients[:100]:
            client.read_head()
            assert client.status == 101
        for client in clients:
            leave(client)
        server.wait_until(lambda: len(server.children()) == children, "the programs to end")
    server.wait_until(lambda: all(len(os.listdir(f"/proc/{pid}/fd")) <= count
                                  for pid, count in zip(servers, descriptors)),
                      "the descriptors to be closed")


def test_programs_that_end_at_once_are_known_to_have_ended(serve, program):
    server = serve({"/killed": {"bin-path": program("killed", "#!/bin/sh\nkill -9 $$\n")},
                    "/true": {"bin-path": "/bin/true"}, "/false": {"bin-path": "/bin/false"}})
    for path, code in (("/killed", 1011), ("/true", 1000), ("/false", 1011)):
        clients = [ask(server, path) for _ in range(100)]
        for client in clients:
            client.read_head()
            assert client.status == 101
            assert client.read_close() == code
            client.send(CLOSE)
            client.close()
    server.wait_until(lambda: not server.children(), "the programs to end")


@pytest.mark.parametrize("fault, words", [
    ("missing", "No such file or directory"), ("not executable", "Permission denied"),
    ("no format", "Exec format error"), ("directory", "chdir .*: No such file or directory")])
def test_why_a_program_cannot_be_started_is_in_the_log(serve, program, tmp_path, fault, words):
    path = pathlib.Path(program("faulty", "#!/bin/sh\nexec cat\n"))
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    server = serve({"/faulty": {"bin-path": str(path), "working-directory": str(directory)}})
    descriptors = len(server.fds())
    if fault == "missing":
        path.unlink()
    elif fault == "not executable":
        path.chmod(0o644)
    elif fault == "no format":
        path.write_text("neither a script nor a program\n")
    else:
        directory.rmdir()
    for client in [ask(server, "/faulty") for _ in range(50)]:
        with client:
            client.read_head()
            assert client.status == 500
    server.wait_for(f"refused with 500: .*{words}")
    server.wait_until(lambda: len(server.fds()) <= descriptors, "the descriptors to be closed")
    assert not server.children()


def test_there_are_threads_only_where_sessions_have_programs(serve, start_lighttpd):
    without = serve({"/shared": {**CAT, "model": "shared"}})
    assert threads(without.pid) == 1
    assigned = start_lighttpd('wscgi.assign = ( ".ws" => "" )\n', modules=["mod_wscgi"])
    assert threads(assigned.pid) > 1
    server = serve({"/cat": CAT})
    several = threads(server.pid)
    assert several > 1
    for tid in os.listdir(f"/proc/{server.pid}/task"):
        status = pathlib.Path(f"/proc/{server.pid}/task/{tid}/status").read_text()
        blocked = int(status.partition("SigBlk:")[2].split()[0], 16)
        for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP, signal.SIGUSR1):
            assert bool(blocked >> (number - 1) & 1) == (int(tid) != server.pid)
    server.reload()
    assert threads(server.pid) == several


def test_each_worker_has_threads_of_its_own(serve):
    server = serve({"/cat": CAT}, WORKERS)
    workers = server.wait_until(lambda: len(server.children()) == 2 and server.children(),
                                "the workers")
    server.wait_until(lambda: all(threads(pid) > 1 for pid in workers), "their threads")
    assert threads(server.pid) == 1
    os.kill(workers[0], signal.SIGKILL)
    fresh = server.wait_until(
        lambda: len(server.children()) == 2 and set(server.children()) - set(workers),
        "another worker")
    server.wait_until(lambda: all(threads(pid) > 1 for pid in fresh), "its threads")
    with RawClient(server, request("/cat")) as client:
        assert client.status == 101
