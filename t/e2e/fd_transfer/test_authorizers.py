# SPDX-License-Identifier: BSD-3-Clause
"""An authorizer decides before a request is handed over, or `lighttpd -tt` says what to change."""
import pytest

from fastcgi_authorizer import Authorizer
from recording_backend import post
from service import get, report, request, service

GOOD_ORDER = ["mod_fastcgi", "mod_fd_transfer"]


@pytest.fixture
def authorizer(tmp_path):
    with Authorizer(tmp_path / "authorizer") as running:
        running.path = tmp_path / "authorizer"
        yield running


def directive(socket, pattern="/hot/", options=', "check-local" => "disable"', name="fastcgi"):
    return (f'{name}.server = ( "{pattern}" => (( "socket" => "{socket}", "mode" => "authorizer"'
            f'{options} )) )\n')


@pytest.mark.parametrize("pattern", ["/hot/", "/", "/hot/x", "/ho"])
def test_an_authorizer_decides_first(make_lighttpd, authorizer, pattern):
    server = make_lighttpd(directive(authorizer.path, pattern) + service(), modules=GOOD_ORDER)
    server.start()
    assert request(server, get("/hot/x"))[0] == 403
    seen = report(request(server, get("/hot/x", "X-Key: open")))
    assert seen["head"].startswith("GET /hot/x HTTP/1.1\r\n")
    assert authorizer.asked == [("GET", "/hot/x")] * 2


@pytest.mark.parametrize("options", [{}, {"body": "whole"}])
@pytest.mark.parametrize("size", [5, 300_000])
def test_a_body_survives_the_authorizer(make_lighttpd, authorizer, options, size):
    server = make_lighttpd(directive(authorizer.path) + service(**options), modules=GOOD_ORDER)
    server.start()
    data = post(b"z" * size, f"Content-Length: {size}", "X-Key: open")
    assert report(request(server, data))["body"] == size
    assert request(server, data.replace(b"open", b"shut"))[0] == 403


def test_an_authorizer_decides_about_what_was_rewritten(make_lighttpd, authorizer):
    server = make_lighttpd('url.rewrite-once = ( "^/old/(.*)" => "/hot/$1" )\n'
                           + directive(authorizer.path) + service(),
                           modules=["mod_rewrite", *GOOD_ORDER])
    server.start()
    assert request(server, get("/old/x"))[0] == 403
    assert request(server, get("/hot/../hot/x#/../../y"))[0] == 403
    assert report(request(server, get("/old/x", "X-Key: open")))["head"].startswith("GET /hot/x ")


MISTAKES = {
    "order": (["mod_fd_transfer", "mod_fastcgi"], {},
              ["fastcgi.server", '"/hot/"', "mod_fd_transfer claims",
               'list "mod_fastcgi" before "mod_fd_transfer" in server.modules']),
    "order, SCGI": (["mod_fd_transfer", "mod_scgi"], {"name": "scgi"},
                    ["scgi.server", 'list "mod_scgi" before "mod_fd_transfer" in server.modules']),
    "order, AJP": (["mod_fd_transfer", "mod_ajp13"], {"name": "ajp13", "options": ""},
                   ["ajp13.server", 'list "mod_ajp13" before "mod_fd_transfer"']),
    "file": (GOOD_ORDER, {"options": ""}, ['add "check-local" => "disable" to the authorizer']),
    "file, said": (GOOD_ORDER, {"options": ', "check-local" => "enable"'},
                   ['add "check-local" => "disable" to the authorizer']),
    "extension": (GOOD_ORDER, {"pattern": ".php", "options": ""}, ["fastcgi.server", '".php"']),
    "root": (["mod_fd_transfer", "mod_fastcgi"], {"pattern": "/"}, ['list "mod_fastcgi" before']),
    "narrower": (["mod_fd_transfer", "mod_fastcgi"], {"pattern": "/hot/private/"},
                 ['list "mod_fastcgi" before']),
    "docroot": (GOOD_ORDER, {"options": ', "check-local" => "disable", "docroot" => "/srv"'},
                ['take "docroot" out of the authorizer']),
}


@pytest.mark.parametrize("condition", ["", '$HTTP["host"] == "x"'])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_authorizer_that_would_not_be_asked_is_an_error(make_lighttpd, mistake, condition):
    modules, options, expected = MISTAKES[mistake]
    text = directive("/run/authorizer", **options)
    if condition:
        text = f"{condition} {{\n{text}}}\n"
    result = make_lighttpd(text + service(), modules=modules).check_config()
    assert result.returncode != 0
    for part in expected:
        assert part in result.stderr, result.stderr


@pytest.mark.parametrize("text, modules", [
    (directive("/run/a", "/cold/"), ["mod_fd_transfer", "mod_fastcgi"]),  # of other URLs
    (directive("/run/a").replace("authorizer\"", "responder\""), ["mod_fd_transfer", "mod_fastcgi"]),
    (directive("/run/a"), ["mod_fd_transfer"]),  # of a module that is not loaded
    (directive("/run/a", name="ajp13", options=""), ["mod_ajp13", "mod_fd_transfer"]),
])
def test_other_configurations_pass(make_lighttpd, text, modules):
    result = make_lighttpd(text + service(), modules=modules).check_config()
    assert result.returncode == 0, result.stderr
    assert ("unknown config-key: fastcgi.server" in result.stderr) == (len(modules) == 1)


@pytest.mark.raw
def test_at_the_raw_stage_nobody_is_asked(make_lighttpd):
    """As the page says; there an authorizer is no mistake: it may be for TLS clients."""
    result = make_lighttpd(directive("/run/a") + service(stage="raw"),
                           modules=["mod_fd_transfer", "mod_fastcgi"]).check_config()
    assert result.returncode == 0, result.stderr
