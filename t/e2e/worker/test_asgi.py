# SPDX-License-Identifier: BSD-3-Clause
"""fdworker.asgi's duties: one hand-off is one judged request, nobody waits for ever, slow and large
clients cost nothing, and the server hears how each answer ended."""
import array
import contextlib
import json
import os
import pathlib
import re
import select
import socket
import subprocess
import sys
import time

import pytest
import wsproto
from wsproto import events
from wsproto.extensions import PerMessageDeflate

import fronts
import processes
from test_http import exchange

sys.path.insert(0, fronts.PYTHON_PACKAGE)

from fdworker.record import (  # noqa: E402
    HEADER, Field, Flag, Kind, Record, decode_fields, encode, encode_fields, read, split)

HERE = pathlib.Path(__file__).parent
RUNNER = ["/usr/bin/python3", "-B", "-m", "fdworker.asgi", "--app-dir", str(HERE),
          "--timeout-graceful-shutdown", "3"]
MB = 1 << 20


def command(*options, app="asgi_app:app"):
    return [*RUNNER, *options, app]


def head(target, *fields, method="GET"):
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: t", *fields, "", ""]).encode("latin-1")


HANDSHAKE = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")


class Queue:
    """Our end of a worker's queue: lighttpd's place, so that all that the worker says is seen."""

    def __init__(self, directory, *options, run=None):
        self.queue, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.log = directory / "worker.log"
        with theirs, open(self.log, "wb") as log:
            self.worker = subprocess.Popen(run or command(*options), stdin=theirs, stderr=log,
                                           env=fronts.ENVIRONMENT)
        self._id = 0
        self.said = []  # (record, fields, data)
        self.wait_for(Kind.HELLO)

    def hand_over(self, request, pair=None, flags=Flag.WANTS_TAKEN, **fields):
        """The client's end of a connection whose other end the worker has now."""
        ours, theirs = pair or tcp_pair()
        with theirs:
            theirs.setblocking(False)
            self._id += 1
            section = encode_fields({Field[name.upper()]: value for name, value in fields.items()})
            record = Record(Kind.REQUEST, flags, self._id, 0, request.index(b"\r\n\r\n") + 4,
                            len(request), len(section))
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()]))]
            self.queue.sendmsg([encode(record), request, section], rights)
        return ours

    def listen(self, timeout=0.0):
        while select.select([self.queue], [], [], timeout)[0]:
            message, fds, _, _ = socket.recv_fds(self.queue, 100_000, 32)
            for fd in fds:
                os.close(fd)
            if not message:
                break
            for part in split(message):
                record = read(part)
                data = part[HEADER.size:HEADER.size + record.data_length]
                fields = decode_fields(part[record.message_length - record.fields_length:])
                numbers = {Field(kind): int.from_bytes(value, "little")
                           for kind, value in fields.items()}
                self.said.append((record, numbers, data))

    def about(self, kind, number=None):
        """What it has said of this kind, of one hand-off or all."""
        return [entry for entry in self.said
                if entry[0].kind == kind and number in (None, entry[0].id)]

    def wait_for(self, kind, number=None, count=1, timeout=20):
        end = time.monotonic() + timeout
        while len(self.about(kind, number)) < count:
            assert time.monotonic() < end, (kind, self.said, self.log.read_text())
            self.listen(0.05)
        return self.about(kind, number)[-1]

    def stop(self):
        self.queue.shutdown(socket.SHUT_WR)
        try:
            assert self.worker.wait(60) == 0
        finally:
            self.worker.kill()
            self.queue.close()


def tcp_pair():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=20)
        return client, listener.accept()[0]


def everything(client):
    with client:
        return b"".join(iter(lambda: client.recv(65536), b""))


@pytest.fixture
def queue(tmp_path):
    with contextlib.ExitStack() as stack:
        def start(*options, **more):
            one = Queue(tmp_path, *options, **more)
            stack.callback(one.stop)
            return one
        yield start


@pytest.fixture
def cat(tmp_path):
    with contextlib.ExitStack() as stack:
        def start(*options):
            one = fronts.Cat(tmp_path, command(*options), workers=1)
            one.pid = one.worker_pids()[0]
            stack.callback(one.stop)
            assert exchange(one.port, head("/hot/refuse", "Connection: close"))
            return one
        yield start


def connect(one, request):
    client = socket.create_connection(("127.0.0.1", one.port), timeout=20)
    client.sendall(request)
    return client


def receive_until(client, text, data=b""):
    while text not in data:
        part = client.recv(65536)
        assert part, data
        data += part
    return data


def log_of(one):
    return json.loads(exchange(one.port, head("/hot/log", "Connection: close"))
                      .rpartition(b"\r\n\r\n")[2])


def statuses(data):
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", data)]


# --- one hand-off is one request ---

LATE_BODIES = {
    "one byte": (["Content-Length: 1"], b"", b"x"),
    "the second half": (["Content-Length: 10"], b"first", b"secon"),
    "chunks": (["Transfer-Encoding: chunked"], b"3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize("name", LATE_BODIES)
def test_what_follows_a_late_body_goes_back_to_the_server(cat, name):
    fields, first, rest = LATE_BODIES[name]
    other = head("/elsewhere", "Connection: close")
    with connect(cat(), head("/hot/refuse", *fields, method="POST") + first) as client:
        receive_until(client, b"no\n")
        assert not select.select([client], [], [], 0.3)[0]
        client.sendall(rest + other)
        assert receive_until(client, b"outside of the prefix").startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("name", LATE_BODIES)
def test_lighttpd_judges_what_follows_a_late_body(make_lighttpd, name):
    fields, first, rest = LATE_BODIES[name]
    server = make_lighttpd(
        'fd-transfer.server = ( "/hot/" => ( "bin-path" => "' + " ".join(command()) + '" ) )\n'
        '$HTTP["url"] == "/hot/about" { url.access-deny = ( "" ) }\n',
        modules=["mod_fd_transfer", "mod_access"],
        environment={"PYTHONPATH": fronts.PYTHON_PACKAGE}).start()
    with connect(server, head("/hot/refuse", *fields, method="POST") + first) as client:
        receive_until(client, b"no\n")
        client.sendall(rest + head("/hot/about", "X-Remote-User: admin", "Connection: close"))
        assert statuses(everything(client)) == [403]


@pytest.mark.parametrize("fields", [["Content-Length: 30000000"], ["Transfer-Encoding: chunked"],
                                    ["Expect: 100-continue", "Content-Length: 5"]])
def test_a_refused_body_ends_the_connection_and_the_answer_arrives(queue, fields):
    one = queue()
    client = one.hand_over(head("/hot/refuse", *fields, method="POST"))
    with client:
        answer = receive_until(client, b"no\n")
        if "chunked" in fields[0]:
            client.sendall(b"%x\r\n" % 100_000 + bytes(100_000))
        record = one.wait_for(Kind.RETURN)[0]
        assert record.flags & Flag.END_CONNECTION
        assert (b"connection: close" in answer) == ("chunked" not in fields[0])
        assert b"100 Continue" not in answer
    assert one.wait_for(Kind.RETURN)[1] == {Field.STATUS: 404, Field.BYTES: 3}


def test_a_large_answer_to_a_refused_body_arrives_whole(cat):
    """The client sends first, and reads afterwards."""
    one = cat()
    with connect(one, head("/hot/large_refusal", "Content-Length: 3000000", method="POST")) as client:
        with contextlib.suppress(BrokenPipeError):
            client.sendall(bytes(3_000_000))
        assert len(receive_until(client, b"\r\n\r\n" + bytes(300_000))) > 300_000


@pytest.mark.parametrize("after", [b"\r\n", b"\r\n\r\n", b"x" * 100, head("/hot/about")])
def test_bytes_after_the_last_request_are_ignored(cat, after):
    answer = exchange(cat().port, head("/hot/refuse", "Connection: close") + after)
    assert statuses(answer) == [404] and answer.endswith(b"no\n")


@pytest.mark.parametrize("target", ["/hot/slow?s=1", "/hot/late?s=0.5"])
def test_a_half_closed_client_is_answered(cat, target):
    with connect(cat(), head(target, "Connection: close")) as client:
        client.shutdown(socket.SHUT_WR)
        answer = everything(client)
    assert statuses(answer) == [200]
    assert answer.endswith(b"done\n" if "slow" in target else b"4\r\ntwo\n\r\n0\r\n\r\n")


def test_a_client_that_has_ended_its_side_is_gone_after_a_while(cat):
    one = cat("--timeout-half-closed", "1")
    with connect(one, head("/hot/wait")):
        fronts.wait_until(lambda: "waits" in log_of(one), "the application to wait")
    fronts.wait_until(lambda: "gone" in log_of(one), "the application to be told")


def test_no_body_for_head(queue):
    one = queue()
    for target in ("/hot/about", "/hot/stream?mb=1", "/hot/fail"):
        client = one.hand_over(head(target, "Connection: close", method="HEAD"))
        assert everything(client).endswith(b"\r\n\r\n")
        assert one.wait_for(Kind.DONE, one._id)[1][Field.BYTES] == 0


def test_with_keep_the_worker_answers_the_next_request(queue):
    one = queue("--keep", "--timeout-keep-alive", "1")
    with one.hand_over(head("/hot/refuse")) as client:
        receive_until(client, b"no\n")
        client.sendall(head("/hot/refuse"))
        receive_until(client, b"no\n")
        begin = time.monotonic()
        assert client.recv(1) == b""
        assert 0.5 < time.monotonic() - begin < 5
    assert one.wait_for(Kind.DONE)[1] == {Field.STATUS: 404, Field.BYTES: 3}
    assert one.about(Kind.RETURN) == []


# --- who the client is ---

def scope_of(answer):
    return json.loads(answer.rpartition(b"\r\n\r\n")[2])


LIES = ("X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: gopher", "Forwarded: for=6.6.6.6",
        "X-Remote-User: admin", "Connection: close")


def test_the_record_says_who_the_client_is(queue):
    client = queue().hand_over(head("/hot/about", *LIES), client_address="2001:db8::7",
                               client_port=4711, scheme="https", user="alice")
    scope = scope_of(everything(client))
    assert (scope["client"], scope["scheme"]) == (["2001:db8::7", 4711], "https")
    assert scope["state"] == {"remote_user": "alice"}
    assert scope["extensions"] == {"fdworker": {"remote_user": "alice", "raw_stage": False}}


def test_nobody_is_believed_because_he_has_no_address(queue):
    """Clients of a unix socket, and those that have gone."""
    one = queue()
    pair = socket.socketpair()
    pair[0].settimeout(20)
    scope = scope_of(everything(one.hand_over(head("/hot/about", *LIES), pair)))
    assert (scope["client"], scope["scheme"], scope["server"]) == (None, "http", None)
    assert scope["state"] == {}
    for _ in range(5):
        pair = tcp_pair()
        pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        pair[0].close()
        one.hand_over(head("/hot/about", *LIES), pair)
        one.wait_for(Kind.DONE, one._id)
    log = scope_of(everything(one.hand_over(head("/hot/log", "Connection: close"))))
    assert log == [None] * 6


def test_mod_proxy_is_believed_and_says_last_who_it_is(tmp_path):
    path = tmp_path / "http"
    worker = subprocess.Popen(command("--http", str(path)), stdin=subprocess.DEVNULL,
                              env=fronts.ENVIRONMENT)
    try:
        fronts.wait_until(path.exists, "the worker to listen")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(path))
            client.sendall(head("/hot/about", "X-Forwarded-For: 6.6.6.6, 127.0.0.1",
                                "X-Forwarded-Proto: https") + head("/hot/about", "Connection: close"))
            answers = everything(client)
    finally:
        worker.terminate()
        assert worker.wait(20) == 0
    told, untold = (json.loads(body) for body in re.findall(rb"\{.*\}", answers))
    assert (told["client"], told["scheme"]) == (["127.0.0.1", 0], "https")
    assert (untold["client"], untold["scheme"]) == (None, "http")


# --- the server hears how it ended ---

ENDINGS = {  # what becomes of the connection, status, bytes
    "returned": (head("/hot/refuse"), Kind.RETURN, 404, 3),
    "closed": (head("/hot/refuse", "Connection: close"), Kind.DONE, 404, 3),
    "in two parts": (head("/hot/two_parts"), Kind.RETURN, 201, 6),
    "in chunks": (head("/hot/stream?mb=1"), Kind.RETURN, 200, 16 * (65536 + 9) + 5),
    "failed": (head("/hot/fail"), Kind.DONE, 500, 21),
    "bad request": (head("/hot/refuse", ": x"), Kind.RETURN, 400, 30),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_status_and_bytes_are_told(queue, name):
    one = queue()
    request, kind, status, size = ENDINGS[name]
    client = one.hand_over(request)
    reader = subprocess.Popen([sys.executable, "-c", "import sys, time\nwhile 1:\n"
                               " if not sys.stdin.buffer.raw.read(65536): break"], stdin=client)
    assert one.wait_for(kind)[1] == {Field.STATUS: status, Field.BYTES: size}
    client.close()
    reader.kill()
    reader.wait()
    assert len(one.about(Kind.DONE)) + len(one.about(Kind.RETURN)) == 1
    assert len(one.about(Kind.TAKEN)) == (name in ("in two parts", "in chunks"))


def test_handshakes_that_are_abandoned_leave_nothing_behind(queue):
    one = queue()
    for _ in range(30):
        one.hand_over(head("/hot/never", *HANDSHAKE)).close()
    one.wait_for(Kind.DONE, count=30, timeout=5)
    assert json.loads(everything(one.hand_over(head("/hot/log", "Connection: close")))
                      .rpartition(b"\r\n\r\n")[2]) == [1006] * 30


def test_an_answer_that_takes_its_time_is_announced(queue):
    one = queue()
    with one.hand_over(head("/hot/never")):
        begin = time.monotonic()
        one.wait_for(Kind.TAKEN, timeout=10)
        assert 4 < time.monotonic() - begin < 8
        one.queue.shutdown(socket.SHUT_WR)
        one.worker.terminate()


def test_a_fault_of_the_runner_is_answered(queue):
    script = ("import fdworker._asgi.http1 as http1, fdworker.asgi, sys\n"
              "def broken(*_): raise TypeError('as after an incompatible change')\n"
              "http1.Exchange.__init__ = broken\n"
              f"sys.argv[1:] = ['--app-dir', {str(HERE)!r}, 'asgi_app:app']\nfdworker.asgi.main()\n")
    one = queue(run=["/usr/bin/python3", "-B", "-c", script])
    assert statuses(everything(one.hand_over(head("/hot/refuse", "Connection: close")))) == [500]
    one.listen(0.5)
    assert one.about(Kind.RETURN)[0][1][Field.STATUS] == 500


WRONG = {
    "asgi_ap:app": 'there is no module "asgi_ap"',
    "asgi_app:ap": 'module "asgi_app" has no attribute "ap"',
    "asgi_app": 'should be module:attribute',
    "asgi_app:PART": "is no application",
    "peer_app:wsgi": "--interface wsgi",
}


@pytest.mark.parametrize("app", WRONG)
def test_a_wrong_application_is_named_at_the_start(app):
    done = subprocess.run(command(app=app), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          env=fronts.ENVIRONMENT, check=False, timeout=20)
    assert done.returncode == os.EX_CONFIG  # lighttpd does not start it again and again
    assert WRONG[app] in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("options", [["--no-such-option"], ["--limit", "0"], ["--ws", "x"],
                                     ["--timeout-read", "soon"], ["--kee"]])
def test_a_wrong_option_is_an_error(options):
    done = subprocess.run(command(*options), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          env=fronts.ENVIRONMENT, check=False, timeout=20)
    assert done.returncode == 2 and options[0] in done.stderr


@pytest.mark.parametrize("module", ["h11", "wsproto"])
def test_versions_that_are_too_old_are_named(tmp_path, module):
    script = ("import importlib.metadata as m, fdworker.asgi, sys\nold = m.version\n"
              f"m.version = lambda name: '0.1' if name == '{module}' else old(name)\n"
              "sys.argv[1:] = ['asgi_app:app']\nfdworker.asgi.main()\n")
    done = subprocess.run(["/usr/bin/python3", "-B", "-c", script], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, env=fronts.ENVIRONMENT, check=False)
    assert done.returncode == os.EX_CONFIG  # lighttpd does not start it again and again
    assert f"This is {module} 0.1" in done.stderr and "h11 0.14 or newer" in done.stderr


# --- slow and large ---

def test_a_client_that_does_not_read_costs_a_window_and_nobody_else_anything(cat):
    one = cat()
    before = processes.rss(one.pid)
    with connect(one, head("/hot/stream?mb=300")):
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            begin = time.monotonic()
            assert statuses(exchange(one.port, head("/hot/refuse", "Connection: close"))) == [404]
            assert time.monotonic() - begin < 1
        assert processes.rss(one.pid) - before < 10 * MB
        assert "streamed" not in log_of(one)


def test_a_fast_client_does_not_keep_others_waiting(cat):
    one = cat()
    with subprocess.Popen(["curl", "-s", "-o", "/dev/null", one.url("/hot/stream?mb=2000")]) as fast:
        for _ in range(20):
            begin = time.monotonic()
            assert statuses(exchange(one.port, head("/hot/refuse", "Connection: close"))) == [404]
            assert time.monotonic() - begin < 1
        fast.kill()


def test_clients_that_do_not_read_cost_no_cpu(cat):
    one = cat()
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", one.port))
            client.sendall(head("/hot/stream?mb=10"))

        def is_quiet():
            before = processes.cpu(one.pid)
            time.sleep(1)
            return processes.cpu(one.pid) - before < 0.03
        fronts.wait_until(is_quiet, "the kernel's buffers to be full")
        before = processes.cpu(one.pid)
        time.sleep(2)
        assert processes.cpu(one.pid) - before <= 0.03


def test_a_client_that_never_reads_is_given_up(queue):
    one = queue("--timeout-write", "1")
    with one.hand_over(head("/hot/stream?mb=300")):
        one.wait_for(Kind.DONE, timeout=10)
    fronts.wait_until(lambda: fronts.clients_held(one.worker.pid) == 0, "the connection's end")


@pytest.mark.parametrize("pause, options", [
    (None, ["--timeout-read", "1"]), (0.2, ["--timeout-read", "1", "--min-rate", "1000"])],
    ids=["silent", "a byte now and then"])
@pytest.mark.parametrize("field", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
def test_a_client_that_sends_too_slowly_is_refused(queue, pause, options, field):
    one = queue(*options)
    client = one.hand_over(head("/hot/upload", field, method="POST"))
    begin = time.monotonic()
    while not select.select([client], [], [], pause or 10)[0]:
        assert time.monotonic() - begin < 10
        client.sendall(b"1\r\nx\r\n" if "chunked" in field else b"x")
    assert statuses(receive_until(client, b"Request Timeout")) == [408]
    assert one.wait_for(Kind.RETURN)[1][Field.STATUS] == 408
    client.close()


@pytest.mark.parametrize("options, fields", [([], {"body_limit": 1000}),
                                             (["--limit-body", "1000"], {})])
def test_a_body_longer_than_lighttpd_accepts_is_refused(queue, options, fields):
    one = queue(*options)
    request = head("/hot/upload", "Transfer-Encoding: chunked", method="POST")
    for size, status in ((1000, 200), (1001, 413)):
        client = one.hand_over(request + b"%x\r\n" % size + bytes(size) + b"\r\n0\r\n\r\n", **fields)
        assert statuses(receive_until(client, b"\r\n\r\n")) == [status]
        client.close()


def test_the_grace_ends(tmp_path):
    one = Queue(tmp_path, "--timeout-graceful-shutdown", "1")
    with one.hand_over(head("/hot/never")) as client, one.hand_over(head("/hot/slow?s=0.5")) as other:
        fronts.wait_until(lambda: fronts.clients_held(one.worker.pid) == 2, "both to be in work")
        one.worker.terminate()
        assert statuses(receive_until(other, b"done\n")) == [200]
        assert statuses(everything(client)) == [500]
        one.stop()  # asserts status 0


def test_the_limit_of_requests(tmp_path):
    one = Queue(tmp_path, "--limit-max-requests", "2")
    for _ in range(2):
        everything(one.hand_over(head("/hot/refuse", "Connection: close")))
    assert one.worker.wait(20) == 0
    one.queue.close()


def test_a_wsgi_application_stops_when_its_client_has_left(queue):
    one = queue(run=command("--interface", "wsgi", app="asgi_app:endless"))
    with one.hand_over(head("/hot/endless")) as client:
        assert client.recv(10000)
    fronts.wait_until(lambda: "stopped" in one.log.read_text(), "the application's end")


# --- WebSocket ---

class Session:
    """A WebSocket client on a hand-off."""

    def __init__(self, one, target, extensions=()):
        self.state = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self.sock = one.hand_over(self.state.send(events.Request(
            host="t", target=target, extensions=list(extensions))))
        self.until(events.AcceptConnection)

    def until(self, kind):
        while True:
            for event in self.state.events():
                if isinstance(event, kind):
                    return event
            data = self.sock.recv(65536)
            assert data, f"the end, and no {kind.__name__}"
            self.state.receive_data(data)

    def send(self, event):
        self.sock.sendall(self.state.send(event))


def test_a_session_is_told_of_when_it_ends(queue):
    one = queue()
    session = Session(one, "/hot/echo")
    session.send(events.TextMessage(data="hello"))
    assert session.until(events.TextMessage).data == "hello"
    one.wait_for(Kind.TAKEN)
    session.send(events.CloseConnection(code=1000))
    session.until(events.CloseConnection)
    assert one.wait_for(Kind.DONE)[1] == {Field.STATUS: 101, Field.BYTES: 2 + 5 + 4}
    session.sock.close()


def test_a_message_and_a_close_at_once_are_both_answered(queue):
    session = Session(queue(), "/hot/echo")
    session.sock.sendall(session.state.send(events.TextMessage(data="last")) +
                         session.state.send(events.CloseConnection(code=1000)))
    assert session.until(events.TextMessage).data == "last"
    assert session.until(events.CloseConnection).code == 1000


def test_a_client_that_does_not_read_stops_the_application_not_the_worker(queue):
    one = queue("--timeout-write", "3")
    before = processes.rss(one.worker.pid)
    session = Session(one, "/hot/flood?mb=200")
    for _ in range(10):
        everything(one.hand_over(head("/hot/refuse", "Connection: close")))
        time.sleep(0.1)
    assert processes.rss(one.worker.pid) - before < 10 * MB
    one.wait_for(Kind.DONE, 1, timeout=20)
    session.sock.close()


def test_an_application_that_does_not_receive_stops_the_client(queue):
    one = queue()
    before = processes.rss(one.worker.pid)
    session = Session(one, "/hot/deaf")
    session.sock.settimeout(1)
    frame = session.state.send(events.BytesMessage(data=bytes(60_000)))
    with pytest.raises(TimeoutError):
        for _ in range(2000):
            session.sock.sendall(frame)
    assert processes.rss(one.worker.pid) - before < 10 * MB
    session.sock.close()
    one.worker.terminate()


def test_pings_and_clients_that_do_not_answer_them(queue):
    one = queue("--ws-ping-interval", "0.2", "--ws-ping-timeout", "0.5")
    session = Session(one, "/hot/echo")
    for _ in range(3):
        session.send(session.until(events.Ping).response())
    assert session.until(events.CloseConnection).code == 1011
    session.sock.close()


def test_deflate(queue):
    one = queue()
    session = Session(one, "/hot/echo", [PerMessageDeflate()])
    for size in (0, 1, 100_000):
        session.send(events.TextMessage(data="x" * size))
        text = ""
        while True:
            event = session.until(events.TextMessage)
            text += event.data
            if event.message_finished:
                break
        assert text == "x" * size
    session.sock.close()


def test_a_bomb_ends_in_1009_and_not_in_memory(queue):
    one = queue()
    before = processes.rss(one.worker.pid)
    session = Session(one, "/hot/echo", [PerMessageDeflate()])
    session.send(events.TextMessage(data="x" * (200 * MB)))
    assert session.until(events.CloseConnection).code == 1009
    assert processes.rss(one.worker.pid) - before < 60 * MB
    session.sock.close()


# --- behind lighttpd ---

@pytest.fixture
def server(make_lighttpd):
    return make_lighttpd(
        'fd-transfer.server = ( "/hot/" => ( "bin-path" => "' + " ".join(command()) + '" ) )\n'
        'status.statistics-url = "/statistics"\n', modules=["mod_fd_transfer", "mod_status"],
        environment={"PYTHONPATH": fronts.PYTHON_PACKAGE}).start()


def test_the_access_log_has_what_the_client_got(server):
    for target in ("/hot/log", "/hot/refuse", "/hot/fail", "/hot/two_parts"):  # hello, and then these
        exchange(server.port, head(target, "Connection: close"))
    with connect(server, head("/hot/refuse", "Content-Length: 9000000", method="POST")) as client:
        assert receive_until(client, b"no\n").startswith(b"HTTP/1.1 404 ")
    for target, status, size in (("GET /hot/refuse", 404, 3), ("GET /hot/fail", 500, 21),
                                 ("GET /hot/two_parts", 201, 6), ("POST /hot/refuse", 404, 3)):
        server.wait_for(rf'"{target} HTTP/1.1" {status} {size}$', log="access")


def test_a_refused_upload_is_answered_and_is_no_request(server):
    """Its body is one, if somebody takes it for that."""
    body = head("/hot/about") * 20000
    for field in (f"Content-Length: {len(body)}", "Transfer-Encoding: chunked"):
        chunk = b"%x\r\n" % len(body) if "chunked" in field else b""
        with connect(server, head("/hot/refuse", field, method="POST")) as client:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                client.sendall(chunk + body)
            assert statuses(everything(client)) == [404]


def test_abandoned_handshakes_are_not_kept(server):
    exchange(server.port, head("/hot/refuse", "Connection: close"))
    for _ in range(30):
        connect(server, head("/hot/never", *HANDSHAKE)).close()

    def unacknowledged():
        text = exchange(server.port, head("/statistics", "Connection: close")).decode()
        counters = dict(re.findall(r"(fd-transfer\S+): (\d+)", text))
        [handed] = [int(n) for name, n in counters.items() if name.endswith(".handed-over")]
        [kept] = [int(n) for name, n in counters.items()
                  if name.endswith((".untaken", ".unacked"))]
        return handed == 31 and kept == 0
    server.wait_until(unacknowledged, "all to be let go", timeout=5)
