# SPDX-License-Identifier: BSD-3-Clause
"""Which requests reach which worker, and those that try to get around it."""
import os
import resource
import subprocess

import pytest

import lighttpd
from service import (REPORT, STATUS, counters, fuller, get, read_response, report, request, service,
                     services, wait_for_counter)

# path -> the target that lighttpd makes of it, if that belongs to /hot/
PREFIXES = {
    "/hot/": "/hot/", "/hot/x": "/hot/x", "//hot/": "/hot/", "/x/../hot/": "/hot/",
    "/%68ot/": "/hot/", "/hot/%2e%2e/hot/": "/hot/", "/./hot/": "/hot/", "/hot%2Fx": "/hot/x",
    "/hot/../hot/x?a=/..": "/hot/x?a=/..",
    "/hot": None, "/hotel": None, "/hot/../": None, "/hot/..": None, "/hot/%2e%2e/x": None,
    "/hot/%2E%2E/%2e%2e/x": None, "/HOT/": None, "/x?/hot/": None, "/hot%2f..%2fx": None,
    "/%2568ot/": None, "/hot/x/../../y": None,
}


@pytest.mark.parametrize("path", PREFIXES)
def test_prefixes_match_the_normalised_path(start, stage, path):
    server = start(service(stage=stage))
    status, _, body = request(server, get(path))
    handed = status == 200 and b'"pid"' in body
    assert handed == (PREFIXES[path] is not None), (status, body)
    if handed:  # the raw stage hands on the client's bytes
        target = path if stage == "raw" else PREFIXES[path]
        assert report((status, "", body))["head"].startswith(f"GET {target} ")


def test_the_longest_prefix_wins(start, stage):
    entry = {"bin-path": str(REPORT), "stage": stage, "grace": 1}
    server = start(services({
        "/": {**entry, "bin-path": f"{REPORT} root"}, "/hot/": {**entry, "bin-path": f"{REPORT} hot"},
        "/hot/er/": {**entry, "bin-path": f"{REPORT} hotter"}}))
    for path, name in (("/x", "root"), ("/hot/x", "hot"), ("/hot/er/x", "hotter"), ("/hot", "root")):
        pid = report(request(server, get(path)))["pid"]
        assert open(f"/proc/{pid}/cmdline").read().split("\0")[-2] == name


def test_conditions_choose_the_service(start, stage):
    entry = {"bin-path": str(REPORT), "stage": stage, "grace": 1}
    server = start('$HTTP["host"] == "one" {\n' + services({"/hot/": entry}) + "}\n"
                   '$HTTP["host"] == "none" { fd-transfer.server = () }\n'
                   '$HTTP["url"] =^ "/two/" {\n' + services({"/two/": entry}) + "}\n")
    assert report(request(server, get("/hot/").replace(b"Host: test", b"Host: one")))
    assert request(server, get("/hot/"))[0] == 404
    assert report(request(server, get("/two/")))
    # conditions are evaluated anew for each request of a connection
    with server.connect() as sock:
        sock.sendall(get("/missing"))
        assert read_response(sock)[0] == 404
        sock.sendall(get("/hot/").replace(b"Host: test", b"Host: one"))
        report(read_response(sock))


def test_the_alias_of_the_directive(start, stage):
    server = start(service(stage=stage).replace("fd-transfer.server", "fd_transfer.services"))
    report(request(server, get("/hot/")))


def test_the_uri_stage_runs_after_access_control_and_rewriting(start):
    server = start(service(stage="uri") + 'url.access-deny = ( ".secret" )\n'
                   'url.rewrite-once = ( "^/old/(.*)" => "/hot/$1" )\n'
                   'setenv.add-request-header = ( "X-Added" => "yes" )\n',
                   modules=["mod_rewrite", "mod_access", "mod_setenv"])
    assert request(server, get("/hot/x.secret"))[0] == 403
    seen = report(request(server, get("/old/page")))
    assert seen["head"].startswith("GET /hot/page ")
    assert "\r\nX-Added: yes\r\n" in seen["head"]


@pytest.mark.parametrize("order", [["mod_fd_transfer", "mod_access"], ["mod_access", "mod_fd_transfer"]])
def test_access_control_does_not_depend_on_the_order_of_modules(make_lighttpd, order):
    server = make_lighttpd(service(stage="uri") + 'url.access-deny = ( ".secret" )\n', modules=order)
    server.start()
    assert request(server, get("/hot/x.secret"))[0] == 403


@pytest.mark.raw
def test_the_raw_stage_runs_before_access_control(start):
    """As documented, and flagged in the record."""
    server = start(service(stage="raw") + 'url.access-deny = ( ".secret" )\n', modules=["mod_access"])
    assert report(request(server, get("/hot/x.secret")))["flags"] & 2


def test_too_large_a_body_is_413_at_the_uri_stage(start):
    server = start("server.max-request-size = 1\n" + service(stage="uri"))
    assert request(server, b"POST /hot/ HTTP/1.1\r\nHost: t\r\nContent-Length: 5000\r\n\r\n")[0] == 413


def test_content_length_and_transfer_encoding_both(start, stage):
    """Refused, or one meaning for server and worker: never two."""
    server = start(service(stage=stage))
    response = request(server, b"POST /hot/ HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n"
                       b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    if response[0] == 200:
        seen = report(response)
        assert (seen["body"], seen["rest"]) == (5, "")
        assert stage == "raw" or "Content-Length" not in seen["head"]
    else:
        assert response[0] == 400


LENGTH_5, CHUNKS = b"hello", b"5\r\nhello\r\n0\r\n\r\n"


@pytest.mark.parametrize("fields, body", [
    (b"Content-Length: 5", LENGTH_5), (b"Content-Length:\t5 ", LENGTH_5),
    (b"Content-Length: 05", LENGTH_5), (b"Content-Length: 5\r\nContent-Length: 5", LENGTH_5),
    (b"Content-Length: +5", LENGTH_5), (b"Content-Length: 5, 5", LENGTH_5),
    (b"Content-Length: 5\r\nContent-Length: 6", LENGTH_5), (b"Content-Length: -1", LENGTH_5),
    (b"Content-Length: 5x", LENGTH_5), (b"Content-Length: 99999999999999999999", LENGTH_5),
    (b"Content-Length: 0x5", LENGTH_5), (b"Content-Length : 5", LENGTH_5),
    (b"Content-Length:\r\n 5", LENGTH_5), (b"X: y\r\n Content-Length: 5", LENGTH_5),
    (b"Transfer-Encoding: chunked", CHUNKS), (b"Transfer-Encoding: Chunked", CHUNKS),
    (b"Transfer-Encoding:\tchunked", CHUNKS), (b"Transfer-Encoding : chunked", CHUNKS),
    (b"Transfer-Encoding: gzip, chunked", CHUNKS), (b"Transfer-Encoding: chunked, gzip", CHUNKS),
    (b"Transfer-Encoding: identity", LENGTH_5), (b"Transfer-Encoding: xchunked", CHUNKS),
    (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", CHUNKS),
    (b"Transfer-Encoding: chunked\r\nContent-Length: 5", CHUNKS),
    (b"Transfer-Encoding: chunked\r\nConnection: Transfer-Encoding", CHUNKS),
    (b"Transfer_Encoding: chunked\r\nContent-Length: 5", LENGTH_5),
    (b"Content-Length: 5\r\nConnection: Content-Length", LENGTH_5),
    (b"X: a\rContent-Length: 9\r\nContent-Length: 5", LENGTH_5),
    (b"X: a\nContent-Length: 5", LENGTH_5), (b"Host: two\r\nContent-Length: 5", LENGTH_5),
], ids=repr)
def test_the_end_of_a_body_has_one_meaning(start, stage, fields, body):
    """What follows is a request to lighttpd and to the worker, or the whole is refused."""
    server = start(service(stage=stage))
    second = get("/hot/second")
    text = b"POST /hot/ HTTP/1.1\r\nHost: t\r\n" + fields + b"\r\n\r\n" + body + second
    response = request(server, text, shutdown=True)
    if response[0] != 200:
        assert response[0] in (400, 411, 413, 501)
        return
    seen = report(response)
    assert (seen["body"], seen["rest"]) == (5, second.decode())
    lengths = seen["head"].lower().count("\r\ncontent-length:")
    codings = seen["head"].lower().count("\r\ntransfer-encoding:")
    assert stage == "raw" or lengths + codings == 1


@pytest.mark.parametrize("text", [
    b"GET /hot/\0 HTTP/1.1\r\nHost: t\r\n\r\n", b"GET /hot/ HTTP/1.1\r\nX: a\0b\r\nHost: t\r\n\r\n",
    b"GET /hot/ HTTP/1.1\r\n\r\n", b"GET /hot/ HTTP/9.9\r\nHost: t\r\n\r\n",
    b"GET /hot/%00 HTTP/1.1\r\nHost: t\r\n\r\n"])
def test_malformed_heads_are_400_before_any_worker(start, stage, text):
    server = start(STATUS + service(stage=stage), modules=["mod_status"])
    assert request(server, text)[0] in (400, 505)
    assert counters(server)["handed-over"] == 0


def test_oversized_heads_are_431(start, stage):
    server = start(service(stage=stage))
    assert request(server, get("/hot/", "X: " + "v" * 70_000))[0] == 431


@pytest.mark.parametrize("mode", ["close", "return"])
def test_descriptors_run_out(start, stage, mode):
    """RLIMIT_NOFILE reached: requests are answered or refused, and all is well again after."""
    server = start("server.max-connections = 20\n"
                   + STATUS + service(**fuller(mode, workers=2, stage=stage)), modules=["mod_status"])
    wait_for_counter(server, "started", 2)
    server.wait_until(lambda: request(server, get("/hot/")) and
                      sum(counters(server)[name] for name in ("taken", "returned")), "hello")
    server.wait_for_no_client()
    before = len(server.fds())
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (before + 8, 4096))
    socks = [server.connect() for _ in range(30)]
    for sock in socks:
        sock.sendall(get("/hot/pause/0.01", "Connection: close"))
    for sock in socks:
        with sock:
            assert read_response(sock)[0] in (200, 503)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (4096, 4096))
    assert request(server, get("/hot/"))[0] == 200
    server.wait_until(lambda: len(server.fds()) <= before, "no descriptors left over")


def test_tls_and_http2_are_left_to_others(start, stage, tmp_path):
    key = tmp_path / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=t",
                    "-days", "1", "-keyout", key, "-out", tmp_path / "cert.pem"],
                   check=True, capture_output=True)
    with open(key, "a") as file:
        file.write((tmp_path / "cert.pem").read_text())
    server = start(service(stage=stage) + f'ssl.engine = "enable"\nssl.pemfile = "{key}"\n',
                   modules=["mod_openssl"], tls=True)
    for version in ("--http1.1", "--http2"):
        got = subprocess.run(["curl", "-sk", version, "-o", "/dev/null", "-w", "%{http_code}",
                              server.url("/hot/", "https")], capture_output=True, text=True)
        assert got.stdout == "404", (version, got)


@pytest.mark.parametrize("how", ["--http2", "--http2-prior-knowledge"])
def test_h2c_is_left_to_others(start, stage, how):
    if how == "--http2" and lighttpd.version() == (1, 4, 79):
        pytest.skip("lighttpd 1.4.79 itself says 101 and nothing more")
    server = start(service(stage=stage))
    got = subprocess.run(["curl", "-s", "--max-time", "20", how, "-o", "/dev/null",
                          "-w", "%{http_code} %{http_version}", server.url("/hot/")],
                         capture_output=True, text=True)
    # An upgrade by header begins as HTTP/1.1, and that the raw stage sees first.
    expected = ("200 1.1",) if stage == "raw" and how == "--http2" else ("404 2", "200 1.1")
    assert got.stdout in expected, got
