# SPDX-License-Identifier: BSD-3-Clause
"""The stage `raw`: what precedes it, what it refuses, and what it leaves to lighttpd."""
import pytest

from service import (STATUS, counters, fuller, get, read_response, report, request, service,
                     wait_for_counter)

pytestmark = pytest.mark.raw

# The limits of one virtual host, which the global scope does not have.
HOST = '$HTTP["host"] == "limited" {{\n    {}\n}}\n'


def of_host(data, host=b"limited"):
    return data.replace(b"Host: test", b"Host: " + host)


@pytest.fixture
def start_raw(start):
    def begin(config=""):
        server = start(STATUS + service(stage="raw") + config, modules=["mod_status"])
        (server.root / "style.css").write_text("css")
        return server
    return begin


@pytest.fixture
def start_returning(start):
    def begin(config=""):
        server = start(STATUS + service(**fuller("return", stage="raw")) + config,
                       modules=["mod_status"])
        (server.root / "style.css").write_text("css")
        return server
    return begin


@pytest.mark.parametrize("target", [
    "/hot/#", "/hot/x#?admin=1", "/hot/x?a#b", "/hot/public#/../admin", "/hot/x#y#z",
    "http://test/hot/#x", "/x/../hot/#"])
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_a_fragment_is_a_bad_request(start_raw, target, version):
    """A client never sends one; a worker may cut the target elsewhere than lighttpd does."""
    server = start_raw()
    with server.connect() as sock:
        sock.sendall(get(target, version=version) + get("/hot/second"))
        assert read_response(sock)[0] == 400
        assert sock.recv(1) == b""  # what follows a bad request is not served
    assert counters(server)["handed-over"] == 0


def test_a_number_sign_elsewhere_is_none_of_its_business(start_raw):
    server = start_raw()
    head = report(request(server, get("/hot/%23x?%23", "X-Colour: #fff")))["head"]
    assert head.startswith("GET /hot/%23x?%23 ") and "X-Colour: #fff" in head
    request_with_body = (b"POST /hot/ HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\n"
                         b"# abc")
    assert report(request(server, request_with_body))["body"] == 5


def test_the_host_s_max_request_size_holds(start_raw):
    server = start_raw(HOST.format("server.max-request-size = 1"))
    post = b"POST /hot/ HTTP/1.1\r\nHost: test\r\nContent-Length: 1025\r\n\r\n" + 1025 * b"x"
    assert report(request(server, post))["body"] == 1025
    assert request(server, of_host(post))[0] == 413
    assert counters(server)["handed-over"] == 1


def test_the_global_max_request_size_holds(start_raw):
    server = start_raw("server.max-request-size = 1\n")
    post = b"POST /hot/ HTTP/1.1\r\nHost: test\r\nContent-Length: 1025\r\n\r\n" + 1025 * b"x"
    assert request(server, post)[0] == 413


@pytest.mark.parametrize("limit", [
    "server.max-keep-alive-idle = 0", 'server.protocol-http11 = "disable"'])
def test_the_host_s_keep_alive_holds_for_a_returned_connection(start_returning, limit):
    """The connections of one host end, those of others go on."""
    server = start_returning(HOST.format(limit))

    def kept():  # by lighttpd, until it is returned: once the worker has said hello
        before = counters(server)["returned"]
        with server.connect() as sock:
            sock.sendall(get("/hot/pause/0.05"))
            server.wait_until(lambda: counters(server)["returned"] > before or
                              counters(server)["untaken"], "an answer, or a connection kept")
            seen = counters(server)["untaken"]
            read_response(sock)
        return seen
    server.wait_until(kept, "hello")
    with server.connect() as sock:
        for _ in range(2):
            sock.sendall(get("/hot/"))
            assert read_response(sock)[0] == 200
        sock.sendall(of_host(get("/hot/")))
        assert read_response(sock)[0] == 200
        assert sock.recv(1) == b""


def test_conditions_of_each_request_of_a_connection(start_returning):
    """None is left over from the request before, whoever answered that."""
    server = start_returning(HOST.format("fd-transfer.server = ()"))
    with server.connect() as sock:
        for _ in range(3):
            sock.sendall(get("/hot/"))
            assert read_response(sock)[0] == 200
            sock.sendall(of_host(get("/hot/")))
            assert read_response(sock)[0] == 404
            sock.sendall(of_host(get("/style.css")))
            assert read_response(sock)[2] == b"css"
    wait_for_counter(server, "returned", 3)


def test_the_hook_goes_and_comes_with_the_configuration(start):
    """A reload unloads the modules, and with them every registration."""
    server = start(service(stage="raw"))
    assert report(request(server, get("/hot/x")))["flags"] & 2
    for stage in ("uri", "raw", "uri", "raw"):
        server.set_config(service(stage=stage))
        server.reload()
        flags = report(request(server, get("/hot/x")))["flags"]
        assert bool(flags & 2) == (stage == "raw")
    server.set_config("")
    server.reload()
    assert request(server, get("/hot/x"))[0] == 404
