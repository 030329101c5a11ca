# SPDX-License-Identifier: BSD-3-Clause
"""Requests that lighttpd has sent on inside itself, or whose body a module has read: the worker gets
the request that they became, and exactly its body."""
import hashlib
import os
import time

import pytest

import lighttpd
from recording_backend import CHUNKS, post
from service import get, read_response, report, request, service

CGI = 'cgi.assign = ( ".sh" => "/bin/sh" )\ncgi.local-redir = "enable"\n'
SECOND = get("/hot/second")
BODY = b"The request's body, which has 45 bytes in all"
assert len(BODY) == 45


def sha(data):
    return hashlib.sha256(data).hexdigest()


def script(server, text, name="x.sh"):
    (server.root / name).write_text(text)


# --- internal redirects ---

@pytest.mark.parametrize("location, target", [
    ("/hot/done", "/hot/done"), ("/hot/done?a=b#c", "/hot/done?a=b"), ("/hot/x/../y", "/hot/y")])
@pytest.mark.parametrize("data", [post(BODY, "Content-Length: 45", path="/x.sh"),
                                  post(CHUNKS, "Transfer-Encoding: chunked", path="/x.sh"),
                                  get("/x.sh")], ids=["length", "chunks", "none"])
def test_a_redirected_request_is_what_it_became(start, location, target, data):
    """Its body went to the CGI program. What follows it is the next request."""
    server = start(CGI + service(), modules=["mod_cgi"])
    script(server, f"cat > /dev/null; printf 'Location: {location}\\r\\n\\r\\n'")
    seen = report(request(server, data + SECOND))
    assert seen["head"].startswith(f"GET {target} HTTP/1.1\r\n")
    assert "Content-Length" not in seen["head"] and "Transfer-Encoding" not in seen["head"]
    assert (seen["body"], seen["rest"]) == (0, SECOND.decode())


@pytest.mark.parametrize("fields", [(), ("Connection: keep-alive, X-Name",), ("Connection: close",)])
def test_the_rest_of_a_dropped_body_is_no_request(start, fields):
    """The CGI program answers before the body is there. Whatever still comes of it, neither lighttpd
    nor the worker may take it for a request."""
    server = start("server.stream-request-body = 2\n" + CGI + service(), modules=["mod_cgi"])
    script(server, "printf 'Location: /hot/done\\r\\n\\r\\n'")
    text = SECOND * 3
    data = post(text, f"Content-Length: {len(text) + 9}", *fields, path="/x.sh")
    seen = report(request(server, data))
    assert seen["head"].startswith("GET /hot/done HTTP/1.1\r\n")
    assert (seen["body"], seen["rest"]) == (0, "")
    assert seen["head"].lower().count("\r\nconnection:") == 1
    assert "\r\nConnection: close\r\n" in seen["head"]


def test_what_answers_an_error_is_not_handed_over(start):
    """The status is lighttpd's to send."""
    server = start('server.error-handler-404 = "/hot/error"\n' + service())
    status, _, body = request(server, get("/missing"))
    assert status == 404 and b'"pid"' not in body


def test_a_body_travels_with_a_rewritten_request(start):
    server = start('url.rewrite-once = ( "^/old/(.*)" => "/hot/$1" )\n' + service(),
                   modules=["mod_rewrite"])
    for data in (post(BODY, "Content-Length: 45", path="/old/x"),
                 post(BODY, "Content-Length: 45", "Connection: close", path="/old/x")):
        seen = report(request(server, data + SECOND))
        assert seen["head"].startswith("POST /hot/x HTTP/1.1\r\n")
        assert (seen["sha256"], seen["rest"]) == (sha(BODY), SECOND.decode())


# --- bodies that a module has read ---

COLLECT = "local r = lighty.r\nif not r.req_body.collect then return 0 end\n"


@pytest.fixture
def magnet(start, tmp_path):
    """magnet(script, ...): a server whose requests pass through a Lua script."""
    if not os.path.exists(f"{lighttpd.modules_directory()}/mod_magnet.so"):
        pytest.skip("this server has no mod_magnet: it was built without Lua")

    def begin(lua, config="", modules=("mod_magnet",), **options):
        (tmp_path / "script.lua").write_text(lua)
        return start(config + f'magnet.attract-raw-url-to = ( "{tmp_path}/script.lua" )\n'
                     + service(**options), modules=modules)
    return begin


@pytest.mark.parametrize("size", [1, 45, 70_000, 1_500_000])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_collected_body_travels(magnet, size, framing):
    server = magnet(COLLECT + "return 0\n")
    body = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    data = (post(body, f"Content-Length: {size}") if framing == "length" else
            post(b"%x\r\n%s\r\n0\r\n\r\n" % (size, body), "Transfer-Encoding: chunked"))
    seen = report(request(server, data + SECOND))
    assert (seen["body"], seen["sha256"], seen["rest"]) == (size, sha(body), SECOND.decode())
    assert seen["early"] == size + len(SECOND)
    assert f"\r\nContent-Length: {size}\r\n" in seen["head"] and "chunked" not in seen["head"]


def test_a_body_that_arrives_in_pieces_is_collected_first(magnet):
    server = magnet(COLLECT + "return 0\n")
    with server.connect() as sock:
        for byte in post(BODY, "Content-Length: 45", "Expect: 100-continue"):
            sock.sendall(bytes([byte]))
            time.sleep(0.001)
        answer = sock.recv(25, 0x100)  # MSG_WAITALL
        assert answer == b"HTTP/1.1 100 Continue\r\n\r\n"
        seen = report(read_response(sock))
    assert seen["sha256"] == sha(BODY) and "Expect" not in seen["head"]


def test_a_body_that_a_module_changed_has_its_new_length(magnet):
    server = magnet(COLLECT + 'r.req_body.add(" and more")\nreturn 0\n')
    seen = report(request(server, post(BODY, "Content-Length: 45")))
    assert seen["sha256"] == sha(BODY + b" and more")
    assert "\r\nContent-Length: 54\r\n" in seen["head"]


def test_a_body_without_length_is_refused(magnet):
    """A script may let HTTP/1.0 send one, to its end of input. Nobody could tell the worker."""
    if lighttpd.version() < (1, 4, 79):
        pytest.skip("lighttpd knows no such bodies yet")
    server = magnet("local allowed = lighty.r.req_body.unspecified_len\nreturn 0\n")
    assert request(server, b"PUT /hot/x HTTP/1.0\r\n\r\n" + BODY, shutdown=True)[0] == 411


def test_a_collected_body_waits_for_room_in_the_queue(magnet):
    """With the request, in lighttpd, when no worker takes it at once."""
    server = magnet(COLLECT + "return 0\n", queue_bytes=1)
    body = b"z" * 200_000
    with server.connect() as sock, server.connect() as other:
        for one in (sock, other):
            one.sendall(post(body, "Content-Length: 200000"))
        for one in (sock, other):
            assert report(read_response(one))["sha256"] == sha(body)


def test_a_request_that_begins_anew_is_claimed_anew(magnet):
    """Even if it had been claimed before: the Lua script is run after this module. Access control
    decides about the new target too."""
    server = magnet('local r = lighty.r\nif r.req_attr["uri.path"] == "/hot/x" then\n'
                    'r.req_attr["request.uri"] = "/page.txt"\nreturn lighty.RESTART_REQUEST\n'
                    'elseif r.req_attr["uri.path"] == "/hot/y" then\n'
                    'r.req_attr["request.uri"] = "/hot/z"\nreturn lighty.RESTART_REQUEST\n'
                    'elseif r.req_attr["uri.path"] == "/hot/a" then\n'
                    'r.req_attr["request.uri"] = "/hot/secret"\nreturn lighty.RESTART_REQUEST\nend\n',
                    config='url.access-deny = ( "secret" )\n',
                    modules=["mod_access", "mod_fd_transfer", "mod_magnet"])
    (server.root / "page.txt").write_text("page")
    assert request(server, get("/hot/x"))[::2] == (200, b"page")
    assert request(server, get("/hot/a"))[0] == 403
    assert report(request(server, get("/hot/y")))["head"].startswith("GET /hot/z HTTP/1.1\r\n")
