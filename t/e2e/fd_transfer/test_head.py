# SPDX-License-Identifier: BSD-3-Clause
"""The head of a handed-over request is the one that mod_proxy would send to a backend: each request
goes to both, through one server."""
import json
import re
import socket

import pytest

import lighttpd
from recording_backend import CHUNKS, Backend, parts, post
from service import HERE, get, service

PAGE = HERE.parent.parent.parent / "doc/mod_fd_transfer.md"

# What differs on purpose. The page says so in a table with these rows.
DIFFERENT = {"HTTP version", "Connection", "Upgrade", "Expect", "Transfer-Encoding",
             "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Host", "Forwarded"}

REWRITE = """
url.rewrite-once = ( "^/old/(.*)" => "/hot/$1", "^/hot/move/([a-z]*)" => "/hot/moved?to=$1",
                     "^/spaced/(.*)" => "/hot/%{noesc:$1}" )
$HTTP["url"] =^ "/again/" {
    url.rewrite-repeat = ( "^/again/a(.*)" => "/again/$1", "^/again/$" => "/hot/done" )
}
"""
SETENV = """
setenv.add-request-header = ( "X-Added" => "yes", "X-Joined" => "ours" )
setenv.set-request-header = ( "X-Unset" => "", "X-Set" => "ours", "Authorization" => "" )
$HTTP["url"] =^ "/hot/hostless" { setenv.set-request-header = ( "Host" => "" ) }
$HTTP["url"] =^ "/hot/lengthless" { setenv.set-request-header = ( "Content-Length" => "" ) }
"""
FLAVOURS = {
    "plain": "",
    "as sent": 'server.http-parseopts = ( "url-normalize" => "disable", '
               '"header-strict" => "disable", "host-strict" => "disable" )\n',
    "streamed": "server.stream-request-body = 2\n",
    "extforward": 'extforward.forwarder = ( "all" => "trust" )\n'
                  'extforward.headers = ( "X-Forwarded-For", "Forwarded" )\n',
}


TARGETS = [
    "/hot/", "/hot/x", "/hot/x?", "/hot/x?q=1", "/hot/x?q=1&q=2&&=", "/hot/x/../hello",
    "/hot/./x/.//y", "//hot//x", "/hot/%78%2f%2F%3f", "/hot/%2e%2e/hot/x", "/hot/a%20b+c?a%20b+c",
    "/hot/x#frag", "/hot/x#?admin=1", "/hot/public#/../admin", "/hot/x%23frag", "/hot/x?q#frag",
    "/hot/x?q%23frag", "/hot/x#a#b?c", "/hot/caf\xc3\xa9", "/hot/x?q=caf\xc3\xa9",
    "/hot/caf%c3%a9?q=%C3%A9", "/hot/%zz", "/hot/x?%zz", "/hot/\"<>\\^`{|}", "/hot/x?\"<>\\^`{|}",
    "/hot/~user;a=1,b=2!$&'()*:@", "/hot/x?a=/../b&c=%2f%2e%2e", "/hot/%7euser", "/hot/..%2fx",
    "http://test/hot/abs?q=1", "http://other:81/hot/abs", "http://test/hot/x#frag", "http://test",
    "/hot/" + "l" * 4000, "/hot/x?" + "q" * 4000, "/old/hello?q=1", "/old/x/../y#z", "/old/a%20b",
    "/hot/move/there", "/hot/move/a#?b", "/again/aaa", "/spaced/a%20b", "/hot/x%00y", "/hot/\x7f",
    "*",
]
FIELDS = [
    ["Host: test:8080"], ["Host: TEST.Example:80"], ["Host: test."], ["Host: [::1]:99"],
    ["Host: a", "Host: b"], ["X-A: 1", "X-A: 2", "x-a: 3"], ["Cookie: a=1", "Cookie: b=2"],
    ["Cookie: a=1; b=2"], ["TE: trailers"], ["TE: trailers, deflate"], ["TE: gzip;q=0.5"],
    ["Trailer: X-Sum"], ["Keep-Alive: timeout=5"], ["Proxy-Connection: keep-alive"],
    ["Proxy: http://evil/"], ["Proxy-Authorization: Basic eDp5"], ["Set-Cookie: a=1"],
    ["Connection: X-Secret", "X-Secret: 1"], ["Connection: close"], ["Connection: keep-alive, TE",
                                                                     "TE: trailers"],
    ["Connection: close, X-Remote-User", "X-Remote-User: me"], ["If-None-Match: \"a\", \"b\""],
    ["If-Modified-Since: Tue, 01 Dec 2026 04:01:08 GMT"], ["Range: bytes=0-1,5-"],
    ["If-Range: \"a\"", "Range: bytes=5-"], ["X-Empty:", "X-Blank:   ", "X-After: 1"],
    ["X_Under_Score: 1", "X-Under-Score: 2"], ["X-Long: " + "v" * 7000], ["X-Bytes: caf\xc3\xa9\xff"],
    ["X-Tabs: \t a\tb \t"], ["x-lower: 1", "X-UPPER: 2"], ["Accept: a", "Accept: b;q=0.1"],
    ["Authorization: Basic eDp5"], ["X-Unset: 1", "X-Set: theirs", "X-Joined: theirs"],
    ["X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: gopher", "X-Host: h", "Forwarded: for=1.2.3.4"],
    ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: eA==",
     "Sec-WebSocket-Version: 13"],
    ["Date: Tue, 01 Dec 2026 04:01:08 GMT", "Via: 1.1 x", "Max-Forwards: 3", "From: a@b"],
    ["X-Folded: a", " b"], ["Content-Type: text/plain", "Content-Type: text/plain"],
    ["Referer: http://a/#b", "User-Agent: x", "Origin: null"], ["Expect: 100-continue"],
]
REQUESTS = [
    *(get(target) for target in TARGETS),
    *(get("/hot/x", *fields) if not fields[0].startswith("Host")
      else get("/hot/x", *fields).replace(b"Host: test\r\n", b"") for fields in FIELDS),
    get("/hot/x", version="HTTP/1.0"), b"GET /hot/x HTTP/1.0\r\n\r\n",
    b"GET /hot/x HTTP/1.0\r\nConnection: keep-alive\r\nTE: trailers\r\nX: 1\r\n\r\n",
    b"POST /hot/x HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    b"GET /hot/x HTTP/1.1\r\n\r\n", get("/hot/hostless"),
    *(get("/hot/x").replace(b"GET", method) for method in (
        b"HEAD", b"OPTIONS", b"DELETE", b"PROPFIND", b"REPORT", b"MKCOL", b"LOCK", b"PURGE", b"QUERY",
        b"CONNECT", b"FOO", b"get")),
    *(post(b"hello", "Content-Length: 5", method=method) for method in (
        "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "GET")),
    *(post(b"", method=method) for method in ("PUT", "PATCH", "POST")),
    *(post(b"", "Content-Length: 0", method=method) for method in ("POST", "GET", "HEAD", "PUT")),
    post(b"hello", "Content-Length: 005", "X-After: 1"), post(CHUNKS, "Transfer-Encoding: chunked"),
    post(CHUNKS, "Transfer-Encoding: chunked", "Trailer: X", method="PUT"),
    post(b"0\r\n\r\n", "Transfer-Encoding: chunked"),
    post(b"hello", "Content-Length: 5", path="/hot/lengthless"),
    post(b"hello", "Expect: 100-continue", "Content-Length: 5"),
    post(b"z" * 200_000, "Content-Length: 200000", "Content-Type: application/octet-stream"),
    post(b"hello", "Content-Length: 5", path="/old/x"),
]


def identify(value):
    return repr(value[:60]) if isinstance(value, bytes) else value


@pytest.fixture(scope="module", params=FLAVOURS)
def server(request, tmp_path_factory):
    """Two ports: behind the first one hand-offs, behind `proxied` mod_proxy."""
    directory = tmp_path_factory.mktemp("head")
    proxied = lighttpd.free_port()
    config = (
        FLAVOURS[request.param] + REWRITE + SETENV + service(workers=2)
        + f'$SERVER["socket"] == "127.0.0.1:{proxied}" {{\n'
        f'fd-transfer.server = ()\n'
        f'proxy.server = ( "/hot/" => (( "socket" => "{directory}/backend" )) )\n'
        'proxy.header = ( "connect" => "disable" )\n}\n')
    modules = ["mod_rewrite", "mod_setenv", "mod_fd_transfer", "mod_proxy"]
    if request.param == "extforward":
        modules.insert(0, "mod_extforward")
    with Backend(directory / "backend") as backend, \
            lighttpd.Lighttpd(directory / "server", config, modules=modules) as started:
        started.proxied, started.backend = proxied, backend
        yield started


def exchange(port, data):
    """All that comes back: the hand-off's worker closes after its answer, lighttpd if asked."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while more := sock.recv(65536):
            answer += more
    while re.match(rb"HTTP/1.1 100", answer):
        answer = answer.partition(b"\r\n\r\n")[2]
    return int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2]


def seen_by_worker(server, data):
    """(status, head, sha256 of the body); the latter are None unless the worker answered."""
    status, body = exchange(server.port, data)
    if status != 200:
        return status, None, None
    seen = json.loads(body)
    return status, seen["head"], seen["sha256"]


def seen_by_backend(server, data):
    status, _ = exchange(server.proxied, data)
    return (status, *server.backend.requests.get(timeout=10)) if status == 200 else (status, None, None)


def end_to_end(fields, chunked):
    """The fields in which no difference is allowed. Chunks may have become a length."""
    left_out = {name.lower() for name in DIFFERENT} | ({"content-length"} if chunked else set())
    return [(name, value) for name, value in fields if name.lower() not in left_out]


@pytest.mark.parametrize("data", REQUESTS, ids=identify)
def test_a_worker_sees_what_a_backend_of_mod_proxy_sees(server, data):
    status, head, body = seen_by_worker(server, data)
    expected_status, expected_head, expected_body = seen_by_backend(server, data)
    assert status == expected_status
    if head is None:
        return
    method, target, version, fields = parts(head)
    expected_method, expected_target, _, expected_fields = parts(expected_head)
    assert (method, target) == (expected_method, expected_target)
    chunked = b"chunked" in data
    assert end_to_end(fields, chunked) == end_to_end(expected_fields, chunked)
    assert body == expected_body
    assert version.encode() == re.search(rb"HTTP/1\.\d", data)[0]
    check_the_clients_own(data, fields)


def check_the_clients_own(data, fields):
    """What is different is the client's, and all of it; nothing is said that the client did not."""
    head = data.partition(b"\r\n\r\n")[0].decode("latin-1")
    names = {name.lower() for name, _ in fields}
    for name in DIFFERENT - {"HTTP version"}:
        sent = re.findall(rf"\r\n{name}:[ \t]*(.*)", head)
        got = [value for field, value in fields if field == name]
        assert got == [value.strip() for value in sent], name
    assert not ({"content-length", "transfer-encoding"} <= names)
    assert all(value for name, value in fields if name != "Host")


def test_the_page_has_the_differences():
    section = PAGE.read_text().partition("## At the stage `uri`")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE)
    named = {name.strip("` ") for row in rows for name in row.split(", ")}
    assert named - {"", "what", "---"} == DIFFERENT
