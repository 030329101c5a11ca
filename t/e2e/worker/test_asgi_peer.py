# SPDX-License-Identifier: BSD-3-Clause
"""fdworker.asgi held against uvicorn: the same applications, the same bytes of the same clients. What
differs on purpose stands in DIFFERENT, with the reason, and in doc/writing-workers.md."""
import json
import pathlib
import re
import select
import socket
import subprocess
import time

import pytest

pytest.importorskip("uvicorn")

import uvicorn  # noqa: E402
import wsproto  # noqa: E402
from wsproto import events  # noqa: E402
from wsproto.utilities import RemoteProtocolError  # noqa: E402

import fronts  # noqa: E402
import lighttpd  # noqa: E402

HERE = pathlib.Path(__file__).parent
PYTHON = "/usr/bin/python3"
UVICORN = tuple(map(int, uvicorn.__version__.split(".")[:2]))
IGNORED = (b"date", b"server")


def head(target, *fields, method="GET", version="1.1"):
    lines = [f"{method} {target} HTTP/{version}", "Host: t", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


LAST = "Connection: close"
CASES = {
    **{name: head(f"/{name}", LAST) for name in (
        "hello chunked empty no_headers no_content no_content_with_body not_modified teapot "
        "unknown_status says_close fails fails_after_start fails_in_body fails_at_the_end says_nothing "
        "stops_after_start stops_in_body returns_something too_long too_short body_first starts_twice "
        "says_more_than_all unknown_message no_status bad_header").split()},
    **{f"HEAD {name}": head(f"/{name}", LAST, method="HEAD") for name in (
        "hello chunked empty no_content fails says_nothing").split()},
    **{f"HTTP/1.0 {name}": head(f"/{name}", version="1.0") for name in (
        "hello chunked empty fails echo").split()},
    "the scope": head("/about/%C3%A4?a=1&b=%20", "X-A: 1", "X-a: 2", "Cookie: c", LAST),
    "the scope of a POST": head("/about", "Content-Length: 3", LAST, method="POST") + b"abc",
    "bytes beyond ASCII in a field": head("/about", "X-A: \xe4", LAST),
    "a body": head("/echo", "Content-Length: 5", LAST, method="POST") + b"Hello",
    "a body in chunks": head("/echo", "Transfer-Encoding: chunked", LAST, method="POST")
    + b"3\r\nHel\r\n2;x=y\r\nlo\r\n0\r\nX-T: 1\r\n\r\n",
    "a body and its end": head("/parts", "Content-Length: 5", LAST, method="PUT") + b"Hello",
    "a body that nobody reads": head("/ignores_the_body", "Content-Length: 5", LAST, method="POST")
    + b"Hello",
    "no body, and its end": head("/parts", LAST),
    "an offer of h2c": head("/hello", "Upgrade: h2c", "HTTP2-Settings: x", "Connection: Upgrade, "
                            "HTTP2-Settings, close"),
    "pipelined": head("/hello") + head("/chunked") + head("/echo", "Content-Length: 2", method="POST")
    + b"ab" + head("/hello", LAST),
    "an expected 100": head("/echo", "Expect: 100-continue", "Content-Length: 2", LAST,
                            method="POST") + b"ab",
    "no expected 100 for HTTP/1.0": head("/echo", "Expect: 100-continue", "Content-Length: 2",
                                         version="1.0", method="POST") + b"ab",
    "100-continue in another field": head("/echo", "X-Expect: 100-continue", "Content-Length: 2",
                                          LAST, method="POST") + b"ab",
    "rubbish": b"GET / rubbish\r\n\r\n",
    "a field without name": head("/hello", ": x", LAST),
    "two lengths": head("/echo", "Content-Length: 1", "Content-Length: 2", LAST, method="POST") + b"ab",
    "an unknown transfer coding": head("/echo", "Transfer-Encoding: gzip", LAST, method="POST"),
    "a chunk without length": head("/echo", "Transfer-Encoding: chunked", LAST, method="POST")
    + b"x\r\nHel\r\n",
}
# What fdworker.asgi does otherwise, as (status, whether the answer is truncated), and why.
DIFFERENT = {
    "no_status": (500, False, "nothing has been sent: the client gets an answer, not an end"),
    "bad_header": (500, False, "nothing has been sent: the client gets an answer, not an end"),
    "HEAD fails": (500, False, "an error's length is known, and said"),
    "HEAD says_nothing": (500, False, "an error's length is known, and said"),
    "an unknown transfer coding": (501, False, "h11 knows better than 400"),
    "an expected 100": (200, False, "100 Continue is for bodies that have not come yet"),
    "an offer of h2c": (200, False, "an offer may be ignored; uvicorn up to 0.20 answers 400"),
    "a chunk without length": (400, False, "answered once; uvicorn lets the application answer too"),
    "returns_something": (200, False, "nothing is wrong with the answer; logged"),
    "fails_at_the_end": (200, False, "nothing is wrong with the answer; logged"),
    "HTTP/1.0 fails": (500, False, "an error's length is known, and said"),
    "fails": (500, False, "an error's length is known, and said"),
    "says_nothing": (500, False, "an error's length is known, and said"),
    "rubbish": (400, False, "an error's length is known, and said"),
    "a field without name": (400, False, "an error's length is known, and said"),
    "two lengths": (400, False, "an error's length is known, and said"),
}


def start_uvicorn(directory, *options, app="peer_app:app", environment=None):
    port = lighttpd.free_port()
    output = open(directory / "uvicorn.log", "wb")
    process = subprocess.Popen(
        [PYTHON, "-B", "-m", "uvicorn", "--port", str(port), "--http", "h11", "--loop", "asyncio",
         *options, app],
        stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=HERE,
        env={**fronts.ENVIRONMENT, **(environment or {})})
    output.close()
    return process, port


def wait_for_port(process, port):
    def listens():
        assert process.poll() is None, "uvicorn has ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0
    fronts.wait_until(listens, "uvicorn to listen")


class Peers:
    """Both, and what they answer."""

    def __init__(self, directory, options=(), app="peer_app:app", ws="websockets"):
        self._process, self.theirs = start_uvicorn(directory, *options, "--ws", ws, app=app)
        wait_for_port(self._process, self.theirs)
        command = [PYTHON, "-B", "-m", "fdworker.asgi", "--app-dir", str(HERE), *options, app]
        self._cat = fronts.Cat(directory, command, workers=1, prefix="/")
        self.ours = self._cat.port

    def both(self):
        return self.theirs, self.ours

    def stop(self):
        self._process.terminate()
        self._process.wait(30)
        self._cat.stop()


@pytest.fixture(scope="module")
def peers(tmp_path_factory):
    both = Peers(tmp_path_factory.mktemp("peers"))
    yield both
    both.stop()


def exchange(port, request):
    """All that comes back; b"reset" if the connection is."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(request)
        data = b""
        try:
            while part := client.recv(65536):
                data += part
        except ConnectionResetError:
            data += b"reset"
    return data


def comparable(data):
    """Without dates, and with the fields of each head sorted."""
    def sort(match):
        lines = match[0].split(b"\r\n")
        fields = sorted(line for line in lines[1:] if line and
                        line.split(b":")[0].lower() not in IGNORED)
        return b"\r\n".join([lines[0], *fields, b"", b""])
    return re.sub(rb"HTTP/1\.1 \d+.*?\r\n\r\n", sort, data, flags=re.DOTALL)


def log_of(port):
    return json.loads(exchange(port, head("/log", LAST)).rpartition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("name", [name for name in CASES if name not in DIFFERENT])
def test_the_answer_is_the_same(peers, name):
    theirs, ours = (comparable(exchange(port, CASES[name])) for port in peers.both())
    if name.startswith("the scope") or "ASCII" in name:
        theirs, ours = (scope_of(answer) for answer in (theirs, ours))
        if UVICORN < (0, 21):
            assert (theirs.pop("state"), ours.pop("state")) == (None, "at start")
    assert theirs == ours
    assert log_of(peers.theirs) == log_of(peers.ours)


def scope_of(answer):
    return json.loads(answer.rpartition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_differs_on_purpose(peers, name):
    status, truncated, reason = DIFFERENT[name]
    answer = exchange(peers.ours, CASES[name])
    assert re.match(rb"HTTP/1\.1 (\d+)", answer)[1] == b"%d" % status, reason
    assert len(re.findall(rb"HTTP/1\.1 \d+", answer)) == 1
    fields, _, content = answer.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)content-length: (\d+)", fields)[1])
    assert name.startswith("HEAD") or (len(content) < length) == truncated
    assert not name.startswith("HEAD") or not content


def test_a_client_that_goes_is_noticed(peers):
    """With unread bytes, so that the connection is reset: that it has ended its side says nothing."""
    logs = []
    for port in peers.both():
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall(head("/waits_for_the_end"))
            fronts.wait_until(lambda port=port: "waits" in log_of(port), "the application to wait")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        fronts.wait_until(lambda port=port: "ended" in log_of(port), "the application's end")
        logs.append(log_of(port))
    assert logs[0] == logs[1] == ["waits", "http.disconnect", "ended"]


# --- WebSocket ---

class WebSocketClient:
    """A client of wsproto, which notes what it sees."""

    def __init__(self, port, target, subprotocols=(), extensions=()):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.state = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self.seen = []
        self.sock.sendall(self.state.send(events.Request(
            host="t", target=target, subprotocols=list(subprotocols), extensions=list(extensions))))

    def send(self, event):
        self.sock.sendall(self.state.send(event))

    def until(self, *kinds):
        while not any(isinstance(event, kinds) for event in self.seen):
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                self.seen.append(None)
                break
            try:
                self.state.receive_data(data)
            except RemoteProtocolError:  # uvicorn 0.53 accepts after it has answered 500
                self.seen.extend(self.state.events())
                break
            self.seen.extend(self.state.events())
        return self.seen[-1]

    def finish(self):
        """What has been seen, in short. Answers a Close."""
        last = self.until(events.CloseConnection, events.RejectData)
        if isinstance(last, events.CloseConnection) and self.state.state.name == "REMOTE_CLOSING":
            self.send(last.response())
        self.sock.close()
        found = []
        for event in self.seen:
            if isinstance(event, events.AcceptConnection):
                fields = {name: value for name, value in event.extra_headers
                          if name.lower().startswith(b"x-")}
                found.append(("accept", event.subprotocol, fields))
            elif isinstance(event, events.RejectConnection):
                found.append(("reject", event.status_code))
            elif isinstance(event, events.CloseConnection):
                found.append(("close", event.code, event.reason or None))
            elif isinstance(event, (events.TextMessage, events.BytesMessage)):
                found.append(bytes(event.data) if not isinstance(event.data, str) else event.data)
            elif isinstance(event, events.Pong):
                found.append(("pong", bytes(event.payload)))
            elif event is None:
                found.append("end")
        return found


def echo_text(client):
    client.until(events.AcceptConnection)
    client.send(events.TextMessage(data="\xe4" * 1000))
    client.until(events.TextMessage)
    client.send(events.CloseConnection(code=1000))


def echo_bytes(client):
    client.until(events.AcceptConnection)
    client.send(events.BytesMessage(data=bytes(range(256))))
    client.until(events.BytesMessage)
    client.send(events.CloseConnection(code=4711, reason="bye"))


def fragments(client):
    client.until(events.AcceptConnection)
    client.send(events.TextMessage(data="one ", message_finished=False))
    client.send(events.Ping(payload=b"between"))
    client.until(events.Pong)
    client.send(events.TextMessage(data="message"))
    client.until(events.TextMessage)
    client.send(events.CloseConnection(code=1001))


def close_without_code(client):
    client.until(events.AcceptConnection)
    client.sock.sendall(b"\x88\x80abcd")


def just_leave(client):
    client.until(events.AcceptConnection)
    client.sock.shutdown(socket.SHUT_WR)


def not_utf8(client):
    client.until(events.AcceptConnection)
    client.sock.sendall(b"\x81\x82\0\0\0\0\xff\xff")


def not_masked(client):
    client.until(events.AcceptConnection)
    client.sock.sendall(b"\x81\x02hi")


def too_big(client):
    client.until(events.AcceptConnection)
    client.send(events.BytesMessage(data=bytes(60_000)))


def one_message(client):
    client.until(events.AcceptConnection)
    client.send(events.TextMessage(data="x"))


def nothing(client):
    pass


SCRIPTS = {  # name: (path, what the client does)
    "text": ("/ws_echo", echo_text),
    "bytes and a close with a reason": ("/ws_echo", echo_bytes),
    "fragments and a ping": ("/ws_echo", fragments),
    "a close without a code": ("/ws_echo", close_without_code),
    "no close": ("/ws_echo", just_leave),
    "bytes that are no UTF-8": ("/ws_echo", not_utf8),
    "a frame without a mask": ("/ws_echo", not_masked),
    "too big a message": ("/ws_echo", too_big),
    "the scope": ("/ws_about/%C3%A4?a=1", nothing),
    "refused": ("/ws_refuses", nothing),
    "answered": ("/ws_answers", nothing),
    "failed before accept": ("/ws_fails_first", nothing),
    "returned before accept": ("/ws_says_nothing", nothing),
    "failed after accept": ("/ws_fails_later", one_message),
    "closed": ("/ws_closes", nothing),
    "a message before accept": ("/ws_sends_first", nothing),
}
# What the client sees, and the application, and why.
WS_DIFFERENT = {
    "failed after accept": ([("accept", None, {}), ("close", 1011, None)],
                            "the application's fault has a code, 1011 (uvicorn: 1000 or none)"),
    "no close": ([("accept", None, {}), "end"],
                 "1006, as the RFC has it, in all cases (uvicorn: 1005 or 1006)"),
    "bytes that are no UTF-8": ([("accept", None, {}), ("close", 1007, None)],
                                "both sides have the code (uvicorn: the application 1006 or 1007)"),
    "a frame without a mask": ([("accept", None, {}), ("close", 1002, None)],
                               "both sides have the code (uvicorn: the application 1006 or 1002)"),
    "too big a message": ([("accept", None, {}), ("close", 1009, None)],
                          "both sides have the code (uvicorn: the application 1006 or 1009)"),
}


@pytest.fixture(scope="module")
def ws_peers(tmp_path_factory):
    both = Peers(tmp_path_factory.mktemp("ws"), ["--ws-max-size", "50000"])
    yield both
    both.stop()


def play(port, name):
    target, act = SCRIPTS[name]
    client = WebSocketClient(port, target, ["a", "b"] if "scope" in name else [])
    act(client)
    seen = client.finish()
    for event in ("close", "reject"):
        seen = [item[:2] + (None,) if item[0] == event == "close" and item[1] in (1002, 1007, 1009)
                else item for item in seen]
    return seen


def settled_log(port):
    """When it does not change any more."""
    log, since = log_of(port), time.monotonic()
    while time.monotonic() - since < 0.3:
        time.sleep(0.02)
        if (new := log_of(port)) != log:
            log, since = new, time.monotonic()
    return log


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name not in WS_DIFFERENT])
def test_a_session_is_the_same(ws_peers, name):
    if name == "answered" and UVICORN < (0, 27):
        assert play(ws_peers.ours, name)[0] == ("reject", 401)
        return
    theirs, ours = (play(port, name) for port in ws_peers.both())
    assert theirs == ours
    assert settled_log(ws_peers.theirs) == settled_log(ws_peers.ours)


@pytest.mark.parametrize("name", WS_DIFFERENT)
def test_what_differs_in_a_session(ws_peers, name):
    expected, _ = WS_DIFFERENT[name]
    assert play(ws_peers.ours, name) == expected
    log = settled_log(ws_peers.ours)
    if name.startswith("failed"):
        return
    code = expected[-1][1] if expected[-1] != "end" else 1006
    assert log[-1] == {"type": "websocket.disconnect", "code": code}


def test_bad_handshakes_are_refused(ws_peers):
    good = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    for position, bad, status in ((2, "Sec-WebSocket-Version: 12", b"426"), (3, "X: y", b"400")):
        fields = [*good[:position], bad, *good[position + 1:]]
        statuses = [re.match(rb"HTTP/1.1 (\d+)", exchange(port, head("/ws_echo", *fields)))[1]
                    for port in ws_peers.both()]
        assert statuses[0] in (status, b"400") and statuses[1] == status
    for request in (head("/ws_echo", *good, "Content-Length: 2") + b"ab",
                    head("/ws_echo", *good, method="POST"),
                    head("/ws_echo", *good).replace(b"Host: t", b"Host: " + b"x" * 80 + b".\xff")):
        assert re.match(rb"HTTP/1.1 400 ", exchange(ws_peers.ours, request))


# --- other interfaces, lifespan ---

@pytest.mark.parametrize("app, options", [
    ("peer_app:TwoCallables", []), ("peer_app:TwoCallables", ["--interface", "asgi2"]),
    ("peer_app:make", ["--factory"]), ("peer_app:app", ["--root-path", "/mounted"]),
    ("peer_app:app", ["--header", "X-B:2", "--no-date-header", "--no-server-header"])])
def test_interfaces_and_options(tmp_path, app, options):
    both = Peers(tmp_path, options, app)
    names = ["hello"] if "--root-path" in options else ["hello", "the scope"]
    try:
        for name in names:
            theirs, ours = (comparable(exchange(port, CASES[name])) for port in both.both())
            if name == "the scope":
                theirs, ours = (scope_of(answer) for answer in (theirs, ours))
                for scope in (theirs, ours):
                    scope.pop("state")
            assert theirs == ours
    finally:
        both.stop()


def test_the_wsgi_interface(tmp_path):
    both = Peers(tmp_path, ["--interface", "wsgi"], "peer_app:wsgi")
    try:
        request = head("/a%20b?c", "Content-Length: 5", "X-A: 1", LAST, method="POST") + b"Hello"
        theirs, ours = (exchange(port, request).rpartition(b"\r\n\r\n")[2] for port in both.both())
        assert theirs == ours
    finally:
        both.stop()


def lifespan_of(command, mode, tmp_path):
    """Exit status and what the application printed. SIGTERM comes once the worker has said hello."""
    with open(tmp_path / "out", "wb") as out, open(tmp_path / "err", "wb") as err:
        queue, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with queue, theirs:
            process = subprocess.Popen(
                command, stdin=theirs, stdout=out, stderr=err, cwd=HERE,
                env={**fronts.ENVIRONMENT, "PEER_LIFESPAN": mode})
            try:
                fronts.wait_until(lambda: process.poll() is not None
                                  or select.select([queue], [], [], 0.1)[0], "hello, or the end")
                process.terminate()
                status = process.wait(30)
            finally:
                process.kill()
    lines = (tmp_path / "out").read_text().split()
    return status, [line for line in lines if line in ("startup", "shutdown")]


@pytest.mark.parametrize("mode, option", [("", "auto"), ("", "on"), ("", "off"), ("fail", "auto"),
                                          ("raise", "auto"), ("raise", "on")])
def test_lifespan(tmp_path, mode, option):
    ours = lifespan_of([PYTHON, "-B", "-m", "fdworker.asgi", "--lifespan", option, "peer_app:app"],
                       mode, tmp_path)
    expected = {("", "auto"): (0, ["startup", "shutdown"]), ("", "on"): (0, ["startup", "shutdown"]),
                ("", "off"): (0, []), ("fail", "auto"): (3, []), ("raise", "auto"): (0, []),
                ("raise", "on"): (3, [])}[mode, option]
    assert ours == expected
    if expected[0] == 3:
        theirs, _ = start_uvicorn(tmp_path, "--lifespan", option, environment={"PEER_LIFESPAN": mode})
        assert theirs.wait(30) in (0, 3)  # 0 in early versions
