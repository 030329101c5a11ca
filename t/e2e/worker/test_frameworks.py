# SPDX-License-Identifier: BSD-3-Clause
"""FastAPI, Starlette, Django and Flask under fdworker.asgi. tools/frameworks runs this file with the
Pythons and frameworks of other Debian releases too."""
import asyncio
import json
import pathlib
import socket
import subprocess
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import pytest
import websockets

import fronts
import processes
from test_http import curl

APPS = pathlib.Path(__file__).parent / "frameworks"
RUNNER = ["/usr/bin/python3", "-B", "-m", "fdworker.asgi", "--timeout-graceful-shutdown", "5"]
COMMANDS = {
    "fastapi": ["fastapi_app:app"],
    "starlette": ["--app-dir", str(fronts.SAMPLES), "starlette_app:app"],
    "django": ["django_app:app"],
    "flask": ["--interface", "wsgi", "flask_app:app"],
    "django-wsgi": ["--interface", "wsgi", "django_app:wsgi"],
}
OURS = [name for name in COMMANDS if name != "starlette"]  # with the pages below
MB = 1 << 20


@pytest.fixture
def one(request, tmp_path):
    name = request.param
    pytest.importorskip({"flask": "flask", "fastapi": "fastapi", "starlette": "starlette"}
                        .get(name, "django"))
    command = [*RUNNER, "--app-dir", str(APPS), *COMMANDS[name]]
    started = fronts.Cat(tmp_path, command, workers=1)
    started.name = name
    yield started
    started.stop()
    assert "Traceback" not in started.log_text() or started.may_complain
    assert "unsupported" not in started.log_text()


fronts.Cat.may_complain = False


def every(names):
    return pytest.mark.parametrize("one", names, indirect=True)


@every(COMMANDS)
def test_a_page(one):
    assert curl("-i", one.url("/hot/now")).startswith(b"HTTP/1.1 200 OK\r\n")


@every(COMMANDS)
def test_a_connection_goes_back_after_each_answer(one):
    urls = [one.url("/hot/now"), one.url("/nothing-here")] * 5
    sink = [part for _ in urls for part in ("-o", "/dev/null")]
    out = curl("-w", "%{http_code} %{num_connects}\n", *sink, *urls).decode().splitlines()
    assert out == ["200 1", "404 0"] + ["200 0", "404 0"] * 4


@every(OURS)
def test_who_asks_and_for_what(one):
    about = json.loads(curl(one.url("/hot/about?a=%C3%A4"), "-H", "X-Remote-User: admin",
                            "-H", "Remote_User: admin"))
    assert about["client"] == "127.0.0.1" and about["user"] is None
    assert urllib.parse.unquote(about["url"]) == one.url("/hot/about?a=\xe4")


@every(OURS)
@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_an_upload(one, size, tmp_path):
    (tmp_path / "body").write_bytes(bytes(size))
    answer = curl("--data-binary", f"@{tmp_path / 'body'}", one.url("/hot/upload"))
    assert json.loads(answer) == {"bytes": size}


@every(OURS)
def test_sync_code_at_once(one):
    with ThreadPoolExecutor(20) as pool:
        answers = pool.map(lambda number: curl(one.url(f"/hot/sync/{number}")), range(50))
    assert [json.loads(answer)["number"] for answer in answers] == list(range(50))


@every(OURS)
def test_a_download(one):
    answer = curl(one.url("/hot/stream?mb=5"))
    assert answer == bytes(5 * MB)


@every(OURS)
def test_a_client_that_does_not_read_costs_a_window_and_nobody_else_anything(one):
    curl(one.url("/hot/now"))
    [pid] = one.worker_pids()
    before = processes.rss(pid)
    with subprocess.Popen(["curl", "-sN", "--limit-rate", "1", one.url("/hot/stream")],
                          stdout=subprocess.DEVNULL) as slow:
        try:
            for _ in range(10):
                begin = time.monotonic()
                curl(one.url("/hot/now"))
                assert time.monotonic() - begin < 2
                time.sleep(0.1)
            assert processes.rss(pid) - before < 20 * MB
        finally:
            slow.kill()


@every(OURS)
def test_a_fault_of_the_application(one):
    one.may_complain = True
    assert curl("-w", "%{http_code}", "-o", "/dev/null", one.url("/hot/fail")) == b"500"
    assert curl("-i", one.url("/hot/now")).startswith(b"HTTP/1.1 200 OK\r\n")


@every(["fastapi", "starlette"])
def test_websocket(one):
    async def run():
        async with websockets.connect(one.url("/hot/echo", "ws")) as client:
            for text in ("", "hello", "x" * 100_000):
                await client.send(text)
                assert await client.recv() == text
    asyncio.run(asyncio.wait_for(run(), 30))


@every(["fastapi"])
def test_work_after_the_answer_keeps_nobody_waiting(one):
    curl(one.url("/hot/now"))
    begin = time.monotonic()
    curl(one.url("/hot/background"), one.url("/hot/now"))
    assert time.monotonic() - begin < 2
    fronts.wait_until(lambda: "background" in json.loads(curl(one.url("/hot/events"))), "the work")


@every(["fastapi"])
def test_a_half_closed_client_gets_the_whole_stream(one):
    with socket.create_connection(("127.0.0.1", one.port), timeout=20) as client:
        client.sendall(b"GET /hot/late HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.count(b"part\n") == 3 and answer.endswith(b"0\r\n\r\n")


@every(["fastapi"])
def test_an_endless_stream_ends_with_its_client(one):
    with subprocess.Popen(["curl", "-sN", one.url("/hot/endless")], stdout=subprocess.PIPE) as client:
        assert client.stdout.readline()
        client.kill()
    fronts.wait_until(lambda: "stopped" in json.loads(curl(one.url("/hot/events"))), "its end")


@every(["fastapi"])
def test_the_lifespan(one):
    assert json.loads(curl(one.url("/hot/about")))["lifespan"] in (["startup"], [])
