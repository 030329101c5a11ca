# SPDX-License-Identifier: BSD-3-Clause
"""What lighttpd and its modules have decided about is what the worker sees: nothing that they dropped
comes through, and nothing that they removed."""
import hashlib

import pytest

from recording_backend import CHUNKS, post
from service import get, report, request, service


@pytest.fixture
def guarded(start):
    return start('$HTTP["querystring"] =~ "admin" { url.access-deny = ( "" ) }\n'
                 '$HTTP["url"] =~ "admin" { url.access-deny = ( "" ) }\n' + service(),
                 modules=["mod_access"])


@pytest.mark.parametrize("path, target", [
    ("/hot/x?admin=1", None), ("/hot/admin", None), ("/hot/x/../admin", None), ("/hot/%61dmin", None),
    ("/hot/x#?admin=1", "/hot/x"), ("/hot/public#/../admin", "/hot/public"),
    ("/hot/x?a#&admin=1", "/hot/x?a"), ("/hot/#/admin", "/hot/"), ("/hot/x%23?admin=1", None),
    ("/hot/x%23/%2e%2e/%2e%2e/admin", None), ("/hot/x?%61dmin=1", None), ("/hot/x??admin", None)])
def test_a_fragment_carries_nothing_past_access_control(guarded, path, target):
    status, head, body = request(guarded, get(path))
    if target is None:
        assert status == 403
    else:
        assert report((status, head, body))["head"].startswith(f"GET {target} HTTP/1.1\r\n")


@pytest.mark.parametrize("last", ["mod_fd_transfer", "others"])
def test_who_decides_may_stand_anywhere_in_the_list_of_modules(make_lighttpd, tmp_path, last):
    (tmp_path / "users").write_text("me:pass\n")
    modules = ["mod_rewrite", "mod_redirect", "mod_auth", "mod_authn_file", "mod_access", "mod_setenv"]
    modules.insert(len(modules) if last == "mod_fd_transfer" else 0, "mod_fd_transfer")
    server = make_lighttpd(
        'url.rewrite-once = ( "^/hot/in/(.*)" => "/hot/$1", "^/hot/out/(.*)" => "/$1" )\n'
        'url.redirect = ( "^/hot/moved" => "/there" )\nurl.access-deny = ( "secret" )\n'
        'setenv.add-request-header = ( "X-Added" => "yes" )\n'
        f'auth.backend = "plain"\nauth.backend.plain.userfile = "{tmp_path}/users"\n'
        'auth.require = ( "/hot/mine" => ( "method" => "basic", "realm" => "r", '
        '"require" => "valid-user" ) )\n' + service(), modules=modules)
    server.start()
    for path, status in (("/hot/out/x", 404), ("/hot/moved", 301), ("/hot/in/moved", 301),
                         ("/hot/in/secret", 403), ("/hot/mine", 401), ("/hot/in/mine", 401)):
        assert request(server, get(path))[0] == status
    for path in ("/hot/in/mine", "/hot/mine"):
        seen = report(request(server, get(path, "Authorization: Basic bWU6cGFzcw==")))["head"]
        assert seen.startswith("GET /hot/mine HTTP/1.1\r\n") and "\r\nX-Added: yes\r\n" in seen


def test_a_line_of_a_target_stays_one_line(start):
    """Where lighttpd leaves a target unencoded, it must not add words or lines to the head."""
    server = start('server.http-parseopts = ( "url-normalize" => "disable" )\n'
                   'url.rewrite-once = ( "^/old/(.*)" => "/hot/%{noesc:$1} HTTP/1.0" )\n' + service(),
                   modules=["mod_rewrite"])
    assert request(server, get("/old/x"))[0] == 400


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
@pytest.mark.parametrize("path", ["/hot/x", "http://test/hot/x"])
def test_tunnels_and_echoes_are_not_handed_over(start, stage, method, path):
    server = start(service(stage=stage))
    status, _, body = request(server, get(path).replace(b"GET", method.encode()))
    assert status in (400, 404, 405, 501) and b'"pid"' not in body


def test_fields_that_were_removed_are_absent(start):
    server = start('setenv.set-request-header = ( "X-Auth" => "", "Transfer-Encoding" => "gzip" )\n'
                   'server.feature-flags += ( "server.h2c" => "disable" )\n' + service(),
                   modules=["mod_setenv"])
    offer = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"]
    seen = report(request(server, get("/hot/x", "X-Auth: me", *offer)))["head"]
    for name in ("X-Auth", "HTTP2-Settings:", "Transfer-Encoding"):
        assert name not in seen
    assert ": \r\n" not in seen
    body = hashlib.sha256(b"hello, world").hexdigest()
    chunked = report(request(server, post(CHUNKS, "Transfer-Encoding: chunked", "X-Auth: me")))
    assert chunked["sha256"] == body
    assert chunked["head"].count("Transfer-Encoding: chunked\r\n") == 1
    assert "Content-Length" not in chunked["head"] and ": \r\n" not in chunked["head"]


def test_a_module_cannot_make_two_lengths(start):
    server = start('setenv.set-request-header = ( "Content-Length" => "-1" )\n' + service(),
                   modules=["mod_setenv"])
    for data, field in ((post(CHUNKS, "Transfer-Encoding: chunked"), "Transfer-Encoding: chunked"),
                        (post(b"hello", "Content-Length: 5"), "Content-Length: 5")):
        head = report(request(server, data))["head"]
        assert f"\r\n{field}\r\n" in head
        assert head.count("Content-Length") + head.count("Transfer-Encoding") == 1


def test_the_older_protocol_has_no_chunks(start):
    """HTTP/1.1 switched off: lighttpd reads a chunked body first, and the worker gets its length."""
    server = start('server.protocol-http11 = "disable"\n' + service())
    seen = report(request(server, post(CHUNKS, "Transfer-Encoding: chunked")))
    assert seen["head"].startswith("POST /hot/x HTTP/1.0\r\n")
    assert "Content-Length: 12\r\n" in seen["head"] and "chunked" not in seen["head"]
    assert seen["sha256"] == hashlib.sha256(b"hello, world").hexdigest()
