# SPDX-License-Identifier: BSD-3-Clause
"""Workers that lighttpd does not start: they listen on a unix socket for hand-offs, and on another
one for what cannot be handed over (TLS, HTTP/2), which stock mod_proxy brings."""
import asyncio
import contextlib
import json
import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys

import pytest
import websockets
from wsproto.events import AcceptConnection, CloseConnection

import fronts
import lighttpd
import processes
import samples
from test_drain import SlowClient
from test_http import curl

SAMPLE = fronts.SAMPLES.parent / "config" / "handoff-and-proxy.conf"
CONFIG = """
var.worker_prefix = "/hot/"
var.worker_handoff = "{handoff}"
var.worker_http = "{http}"
{sample}
$SERVER["socket"] == "127.0.0.1:{tls_port}" {{
    ssl.engine = "enable"
    ssl.pemfile = "{pem}"
}}
"""


def every(names):
    """Runs a test with each of these samples as the external worker."""
    return pytest.mark.parametrize(
        "worker", [name for name in names if name in samples.EXTERNAL], indirect=True)


@pytest.fixture
def worker(request, tmp_path):
    """A worker: process, path for hand-offs, path for HTTP."""
    paths = tmp_path / "app.handoff", tmp_path / "app.http"
    process = subprocess.Popen(
        [*samples.command(request.param), "--listen", paths[0], "--http", paths[1]],
        stdin=subprocess.DEVNULL, env=fronts.ENVIRONMENT)
    fronts.wait_until(lambda: all(p.exists() for p in paths) and
                      fronts.handles_sigterm(process.pid), "the worker to listen")
    yield process, *paths
    process.send_signal(signal.SIGTERM)
    try:
        assert process.wait(30) == 0
    finally:
        process.kill()


@pytest.fixture(params=["uri", pytest.param("raw", marks=pytest.mark.raw)])
def server(request, worker, tmp_path, make_lighttpd):
    """A server with the worker above behind hand-off and proxy, and a TLS port."""
    key, cert, pem = (tmp_path / name for name in ("key", "cert", "pem"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
                    "-subj", "/CN=localhost", "-keyout", key, "-out", cert],
                   check=True, capture_output=True)
    pem.write_text(key.read_text() + cert.read_text())
    tls_port = lighttpd.free_port()
    sample = SAMPLE.read_text()
    assert sample.count("=> var.worker_handoff") == 1
    sample = sample.replace("=> var.worker_handoff",
                            f'=> var.worker_handoff, "stage" => "{request.param}"')
    one = make_lighttpd(
        CONFIG.format(handoff=worker[1], http=worker[2], sample=sample, tls_port=tls_port, pem=pem),
        modules=["mod_openssl"]).start()
    one.tls = f"https://127.0.0.1:{tls_port}"
    return one


@every(["starlette"])
def test_who_the_client_is_is_known_on_both_ways(server):
    plain, tls = (json.loads(curl("-k", url + "/hot/about")) for url in (server.url(""), server.tls))
    assert plain == tls == {"method": "GET", "path": "/hot/about", "client": "127.0.0.1"}


@every(samples.ANSWER)
@pytest.mark.parametrize("options", [["--http1.1"], ["--http2"]], ids=["h1", "h2"])
def test_tls_reaches_the_same_worker_as_plain_http(server, worker, options):
    urls = [server.url("/hot/now"), f"{server.tls}/hot/now"]
    out = curl("-k", *options, "-w", "%{http_code} ", "-o", "/dev/null", urls[0],
               "-o", "/dev/null", urls[1], "-o", "/dev/null", urls[1])
    assert out == b"200 200 200 "
    assert worker[0].poll() is None


@every(samples.ANSWER)
def test_http2_without_tls_reaches_it_too(server):
    assert curl("--http2-prior-knowledge", "-i", server.url("/hot/now")).startswith(b"HTTP/2 200")


@every(samples.UPLOAD)
@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_tls_uploads(server, version, tmp_path):
    (tmp_path / "body").write_bytes(bytes(3_000_000))
    answer = curl("-k", version, "--data-binary", f"@{tmp_path / 'body'}",
                  f"{server.tls}/hot/upload")
    assert b"3000000" in answer


@every(samples.EVENTS)
@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_tls_events(server, version):
    with subprocess.Popen(["curl", "-sSNk", "-m", "30", version, f"{server.tls}/hot/events?ms=10"],
                          stdout=subprocess.PIPE) as client:
        lines = [client.stdout.readline() for _ in range(9)]
        client.kill()
    assert [line[:6] for line in lines] == [b"data: ", b"\n"] * 4 + [b"data: "]


@every(samples.WEBSOCKET)
@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
def test_websocket(server, tls):
    context = ssl._create_unverified_context() if tls else None
    url = server.tls.replace("https", "wss") if tls else server.url("", "ws")

    async def run():
        async with websockets.connect(url + "/hot/echo", ssl=context) as client:
            await client.send("hello")
            return await client.recv()
    assert asyncio.run(asyncio.wait_for(run(), 30)) == "hello"


@every(samples.EXTERNAL)
def test_fdworker_cat_connects_to_it_twice(worker, tmp_path):
    for _ in range(2):
        one = fronts.Cat(tmp_path, [], options=["--connect", str(worker[1])])
        assert curl("-i", one.url("/hot/now")).startswith(b"HTTP/1.1 ")
        one.stop()


@every(samples.EVENTS)
def test_a_stream_outlives_the_server(worker, tmp_path):
    one = fronts.Cat(tmp_path, [], options=["--connect", str(worker[1])])
    with subprocess.Popen(["curl", "-sN", "-m", "30", one.url("/hot/events?ms=20")],
                          stdout=subprocess.PIPE) as client:
        assert client.stdout.readline().startswith(b"data: ")
        one.stop()
        for _ in range(20):
            assert client.stdout.readline()
        client.kill()


def start_with_inherited(listeners, command):
    """A worker that has them from fd 3 on, as systemd starts it."""
    command = [shutil.which(command[0]), *command[1:]]
    script = ('import os, sys\nfds = [os.dup(int(fd)) for fd in sys.argv[1].split(",")]\n'
              'fds = [os.dup2(fd, 100 + at) for at, fd in enumerate(fds)]\n'
              'for at, fd in enumerate(fds): os.dup2(fd, 3 + at)\n'
              'os.environ.update(LISTEN_FDS=str(len(fds)), LISTEN_PID=str(os.getpid()))\n'
              'os.closerange(3 + len(fds), 200)\n'
              'os.execv(sys.argv[2], sys.argv[2:])')
    fds = [listener.fileno() for listener in listeners]
    return subprocess.Popen(
        [sys.executable, "-c", script, ",".join(map(str, fds)), *command],
        pass_fds=fds, stdin=subprocess.DEVNULL, env=fronts.ENVIRONMENT)


def listen(path, kind):
    listener = socket.socket(socket.AF_UNIX, kind)
    listener.bind(str(path))
    listener.listen()
    return listener


@pytest.mark.parametrize("sample", samples.EXTERNAL)
def test_listening_sockets_are_inherited_by_listen_fds(tmp_path, sample):
    """systemd's convention: fd 3 brings hand-offs, fd 4 ordinary connections."""
    paths = [str(tmp_path / name) for name in ("handoff", "http")]
    listeners = [listen(paths[0], socket.SOCK_SEQPACKET), listen(paths[1], socket.SOCK_STREAM)]
    worker = start_with_inherited(listeners, samples.command(sample))
    one = fronts.Cat(tmp_path, [], options=["--connect", paths[0]])
    assert curl("-i", one.url("/hot/now")).startswith(b"HTTP/1.1 ")
    assert curl("-i", "--unix-socket", paths[1], "http://t/hot/now").startswith(b"HTTP/1.1 ")
    one.stop()
    fronts.terminate(worker.pid)
    assert worker.wait(30) == 0
    for listener in listeners:
        listener.close()
    assert os.path.exists(paths[0])


@pytest.mark.parametrize("sample", samples.WEBSOCKET)
@pytest.mark.parametrize("kind", [socket.SOCK_SEQPACKET, socket.SOCK_STREAM],
                         ids=["handoffs", "connections"])
def test_who_connects_to_the_successor_does_not_disturb_a_drain(tmp_path, sample, kind):
    """systemd keeps the sockets open while the worker still has a session to end."""
    paths = {socket.SOCK_SEQPACKET: str(tmp_path / "handoff"),
             socket.SOCK_STREAM: str(tmp_path / "http")}
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(listen(path, kind)) for kind, path in paths.items()]
        worker = start_with_inherited(listeners, samples.command(sample))
        stack.callback(worker.kill)
        one = fronts.Cat(tmp_path, [], options=["--connect", paths[socket.SOCK_SEQPACKET]])
        with socket.create_connection(("127.0.0.1", one.port), timeout=30) as connection:
            client = SlowClient(connection)
            client.exchange_until(AcceptConnection)
            fronts.terminate(worker.pid)
            fronts.wait_until(lambda: fronts.has_taken_sigterm(worker.pid), "the drain")
            stack.enter_context(socket.socket(socket.AF_UNIX, kind)).connect(paths[kind])
            client.exchange_until(CloseConnection)
            client.send(client.seen[-1].response())
            client.flush()
        assert worker.wait(30) == 0
        one.stop()


@pytest.mark.parametrize("sample", [*samples.EXTERNAL, "blocking", "asyncio"])
def test_without_descriptors_a_server_waits_and_keeps_nobody_busy(tmp_path, sample):
    """It would connect again at once if it were turned away."""
    path = str(tmp_path / "handoff")
    with contextlib.ExitStack() as stack:
        def connect():
            server = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            server.settimeout(20)
            server.connect(path)
            return server
        listener = stack.enter_context(listen(path, socket.SOCK_SEQPACKET))
        worker = start_with_inherited([listener], samples.command(sample))
        stack.callback(worker.kill)
        assert connect().recv(100)  # hello
        with fronts.few_descriptors(worker.pid):
            server, before = connect(), processes.cpu(worker.pid)
            assert select.select([server], [], [], 2.5)[0] == []
            assert processes.cpu(worker.pid) - before < 1
        assert server.recv(100)  # hello
        fronts.terminate(worker.pid)
        assert worker.wait(30) == 0
