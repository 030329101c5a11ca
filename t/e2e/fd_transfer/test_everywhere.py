# SPDX-License-Identifier: BSD-3-Clause
"""The shipped configuration for TLS and HTTP/2: one worker answers every client, what can be
handed over is handed over, the rest comes through mod_proxy."""
import hashlib
import json
import os
import pathlib
import subprocess
import time

import pytest

import lighttpd
from everywhere_app import DOWNLOAD
from service import HERE, STATUS, counters, wait_for_counter

ROOT = HERE.parent.parent.parent

CLIENTS = {  # name: (scheme, curl's option, handed over?)
    "HTTP/1.1": ("http", "--http1.1", True),
    "h2c": ("http", "--http2-prior-knowledge", False),
    "TLS HTTP/1.1": ("https", "--http1.1", False),
    "TLS HTTP/2": ("https", "--http2", False),
}


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    directory = tmp_path_factory.mktemp("worker")
    process = subprocess.Popen(
        ["/usr/bin/python3", "-B", "-m", "fdworker.asgi", "everywhere_app:app", "--listen",
         directory / "handoff.sock", "--http", directory / "http.sock"],
        cwd=HERE, env=dict(os.environ, PYTHONPATH=str(ROOT / "worker/python")))
    deadline = time.monotonic() + 20
    while not (directory / "http.sock").exists():
        assert process.poll() is None and time.monotonic() < deadline, "the worker did not start"
        time.sleep(0.01)
    yield directory
    process.terminate()
    process.wait(20)


@pytest.fixture
def server(start_lighttpd, worker, tmp_path):
    key = tmp_path / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=t",
                    "-days", "1", "-keyout", key, "-out", tmp_path / "cert.pem"],
                   check=True, capture_output=True)
    with open(key, "a", encoding="ascii") as file:
        file.write((tmp_path / "cert.pem").read_text())
    tls_port = lighttpd.free_port()
    started = start_lighttpd(
        STATUS + f'var.worker_prefix = "/hot/"\nvar.worker_handoff = "{worker}/handoff.sock"\n'
        f'var.worker_http = "{worker}/http.sock"\n'
        f'include "{ROOT}/samples/config/handoff-and-proxy.conf"\n'
        f'$SERVER["socket"] == "127.0.0.1:{tls_port}" '
        f'{{ ssl.engine = "enable"\nssl.pemfile = "{key}" }}\n',
        modules=["mod_status", "mod_openssl"])
    started.ports = {"http": started.port, "https": tls_port}
    return started


def curl(server, client, path, *options):
    scheme, version, _ = CLIENTS[client]
    return subprocess.run(
        ["curl", "-sSk", "--max-time", "30", version, *options,
         f"{scheme}://127.0.0.1:{server.ports[scheme]}{path}"],
        capture_output=True, check=True).stdout


def check_path(server, client, before):
    handed = counters(server)["handed-over"] - before
    assert handed == (1 if CLIENTS[client][2] else 0)


@pytest.mark.parametrize("client", CLIENTS)
def test_the_worker_knows_who_asks(server, client):
    before = counters(server)["handed-over"]
    seen = json.loads(curl(server, client, "/hot/about"))
    assert seen["client"] == "127.0.0.1"
    assert seen["scheme"] == CLIENTS[client][0]
    assert (seen["forwarded"] is None) == CLIENTS[client][2]
    check_path(server, client, before)


@pytest.mark.parametrize("client", CLIENTS)
def test_clients_cannot_say_who_they_are(server, client):
    """X-Forwarded-* of the client's own making are not believed."""
    lies = ("-H", "X-Forwarded-For: 6.6.6.6", "-H", "X-Forwarded-Proto: gopher")
    seen = json.loads(curl(server, client, "/hot/about", *lies))
    assert (seen["client"], seen["scheme"]) == ("127.0.0.1", CLIENTS[client][0])


@pytest.mark.parametrize("client", CLIENTS)
def test_mod_proxy_tells_the_worker_what_it_saw(server, client):
    seen = json.loads(curl(server, client, "/hot/about"))
    port = server.ports[CLIENTS[client][0]]
    expected = {} if CLIENTS[client][2] else {
        "x-forwarded-for": "127.0.0.1", "x-forwarded-proto": CLIENTS[client][0],
        "x-host": f"127.0.0.1:{port}"}
    assert {name: seen["headers"].get(name) for name in expected} == expected
    assert seen["host"] == f"127.0.0.1:{port}"


@pytest.mark.parametrize("client", CLIENTS)
def test_large_uploads(server, client, tmp_path):
    before = counters(server)["handed-over"]
    body = bytes(i * 11 % 253 for i in range(3_000_000))
    (tmp_path / "body").write_bytes(body)
    seen = json.loads(curl(server, client, "/hot/upload", "--data-binary", f"@{tmp_path}/body"))
    assert (seen["bytes"], seen["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
    check_path(server, client, before)


@pytest.mark.parametrize("client", CLIENTS)
def test_large_downloads(server, client):
    assert curl(server, client, "/hot/download") == DOWNLOAD


@pytest.mark.parametrize("client", CLIENTS)
def test_other_urls_are_lighttpds(server, client):
    (server.root / "page.txt").write_text("page")
    assert curl(server, client, "/page.txt") == b"page"
