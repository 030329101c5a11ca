# SPDX-License-Identifier: BSD-3-Clause
"""The WSGI runner holds to PEP 3333, and to HTTP: held against waitress, with the same applications."""
import json
import os
import re
import select
import socket
import subprocess

import pytest

import fronts
import lighttpd
import odd_apps
from wsgi_worker import PATH, ask, command, connect, exchange, get

COMPARED = [name for name in odd_apps.APPS
            if name not in ("size", "variables", "closes", "threads", "text", "exits", "bad_status")]


@pytest.fixture(scope="module")
def reference():
    """The port of a waitress with the same applications."""
    port = lighttpd.free_port()
    server = subprocess.Popen(
        ["/usr/bin/env", f"PYTHONPATH={PATH}", "/usr/bin/python3", "-B",
         f"{fronts.pathlib.Path(__file__).parent}/waitress_server.py", str(port)],
        stderr=subprocess.DEVNULL)
    fronts.wait_until(lambda: not socket.socket().connect_ex(("127.0.0.1", port)), "waitress")
    yield port
    server.kill()
    server.wait()


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    """The runner behind fdworker-cat."""
    one = fronts.Cat(tmp_path_factory.mktemp("wsgi"), command())
    yield one
    one.stop()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("name", COMPARED)
def test_an_application_gives_what_it_gives_in_waitress(worker, reference, name, method):
    body = b"a\nbody\n" * 3 if method == "POST" else None
    status, fields, content, whole = ask(worker.port, method, name, body)
    expected, other_fields, other_content, other_whole = ask(reference, method, name, body)
    assert status == expected
    if status < 500 or name == "replaces":
        assert (content, whole) == (other_content, other_whole)
        assert fields.get("X-Name") == other_fields.get("X-Name")
    assert method != "HEAD" or content == b""
    assert name != "late_error" or method == "HEAD" or not whole


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("name", [name for name in odd_apps.VALIDATED if name not in ("size",)])
def test_wsgiref_finds_no_fault(worker, reference, name, method):
    body = b"a\nbody\n" if method == "POST" else None
    found = ask(worker.port, method, f"validated/{name}", body)
    expected = ask(worker.port, method, name, body)
    assert found[0] == expected[0]
    if name not in ("variables", "closes", "threads"):
        assert found[2:] == expected[2:]


@pytest.mark.parametrize("name", ["text", "exits", "bad_status", "silent", "twice", "injects"])
def test_what_an_application_may_not_do_is_500_and_costs_nobody_else(worker, name):
    """(waitress lets some of it through, or loses a thread.)"""
    for _ in range(20):  # more than there are threads
        assert ask(worker.port, "GET", name)[0] == 500
    assert ask(worker.port, "GET", "several")[0] == 200


def test_iterables_are_closed_once(tmp_path):
    one = fronts.Cat(tmp_path, command(), workers=1)
    for method in ("GET", "HEAD"):
        ask(one.port, method, "stream")
    fronts.wait_until(lambda: ask(one.port, "GET", "closes")[2].startswith(b"stream,stream"), "close()")
    assert ask(one.port, "GET", "closes")[2] == b"stream,stream"
    one.stop()


@pytest.mark.parametrize("name", ["breaks_off", "late_error", "short"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_curl_sees_that_an_answer_is_not_whole(worker, name, version):
    done = subprocess.run(["curl", "-sS", "-m", "30", f"--http{version}", worker.url(f"/hot/{name}")],
                          capture_output=True, check=False)
    assert done.returncode in (18, 56)


@pytest.mark.parametrize("name", ["generator", "several", "file"])
def test_http10_gets_no_chunks(worker, name):
    answer = exchange(worker, get(name, version="1.0"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert body == {"generator": b"generated", "several": b"ab"}.get(name, b"0123456789" * 99_999)


@pytest.mark.parametrize("name", ["echo", "several", "generator", "refuses", "fails"])
def test_head_is_answered_without_a_body(worker, name):
    answer = exchange(worker, get(name, method="HEAD"))
    assert answer.endswith(b"\r\n\r\n") and answer.count(b"\r\n\r\n") == 1


def test_a_refusal_of_head_has_no_body(worker):
    answer = exchange(worker, get("echo", *["a: b"] * 120, method="HEAD"))
    assert answer.startswith(b"HTTP/1.1 431 ") and answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("body, framed", [
    (b"hello", b"5\r\nhello\r\n0\r\n\r\n"), (b"", b"0\r\n\r\n"),
    (b"ab", b"1;x=y\r\na\r\n1\r\nb\r\n0\r\nT: v\r\n\r\n")])
def test_a_body_in_chunks_split_anywhere(worker, body, framed):
    head = get("echo", "Transfer-Encoding: chunked", method="POST")
    for cut in range(len(framed) + 1):
        with connect(worker, head + framed[:cut]) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.sendall(framed[cut:])
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        assert answer.endswith(b"\r\n\r\n" + body), (cut, answer)
    shown = exchange(worker, get("variables", "Transfer-Encoding: chunked", method="POST") + framed)
    shown = json.loads(shown.partition(b"\r\n\r\n")[2])
    assert shown["CONTENT_LENGTH"] == str(len(body)) and shown["wsgi.input_terminated"] is True
    assert "HTTP_TRANSFER_ENCODING" not in shown


@pytest.mark.parametrize("framed", [b"x\r\n", b"-1\r\n", b"5\r\nhelloXX", b"5 5\r\nhello"])
def test_bad_chunks_are_refused(worker, framed):
    answer = exchange(worker, get("echo", "Transfer-Encoding: chunked", method="POST") + framed)
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"400"]


def test_a_body_of_5_mb(worker):
    body = bytes(i * 7 % 251 for i in range(5_000_000))
    assert ask(worker.port, "POST", "echo", body)[2] == body
    assert ask(worker.port, "POST", "lines", b"x\n" * 100_000)[2] == b"100000\n200000"


@pytest.mark.parametrize("fields, version, expected", [
    (["Expect: 100-continue"], "1.1", True), (["expect:100-Continue"], "1.1", True),
    (["Expect: 100-continue"], "1.0", False), (["X-A: 100-continue"], "1.1", False)])
def test_100_continue_is_said_to_the_field_of_http11(worker, fields, version, expected):
    with connect(worker, get("echo", *fields, "Content-Length: 2", method="POST", version=version)) as client:
        if expected:
            assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"ok")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"\r\n\r\nok")


@pytest.mark.parametrize("target", ["/hot/variables?100-continue", "/hot/variables/100-continue"])
def test_100_continue_in_a_target_is_nothing(worker, target):
    answer = exchange(worker, b"GET %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n" % target.encode())
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200"]


@pytest.mark.parametrize("rest", [b"\r\n", b"\r\n\r\n", b"GET", b"GET /hot/echo HTTP/1.1\r\n\r\n", b"\0"])
@pytest.mark.parametrize("method, body", [("GET", b""), ("POST", b"Content-Length: 2\r\n\r\nab")])
def test_what_follows_a_last_request_is_ignored(worker, rest, method, body):
    request = get("several", method=method)
    request = request[:-2] + body if body else request
    assert re.findall(rb"HTTP/1.1 (\d+)", exchange(worker, request + rest)) == [b"200"]


@pytest.mark.parametrize("front", ["cat", "lighttpd-uri"], indirect=True)
@pytest.mark.parametrize("sample", ["wsgi"])
def test_a_client_that_has_shut_down_its_side_is_answered(front, sample):
    one = front(sample)
    for request in (get("now"), get("now", "Content-Length: 3", method="POST") + b"abc"):
        with connect(one, request) as client:
            client.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200 "), answer


def test_a_body_that_ends_early_is_refused(worker):
    with connect(worker, get("echo", "Content-Length: 9", method="POST") + b"abc") as client:
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")


# What the application is told.

def told(worker, *fields, method="GET", path="variables", version="1.1"):
    answer = exchange(worker, get(path, *fields, method=method, version=version))
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def test_who_the_client_is_comes_from_the_record(worker):
    shown = told(worker, "Remote-Addr: 6.6.6.6", "Remote-User: admin", "X-Forwarded-For: 6.6.6.6",
                 "X-Forwarded-Proto: https", "HTTPS: on", "X-Remote-User: admin")
    assert shown["REMOTE_ADDR"] == "127.0.0.1" and int(shown["REMOTE_PORT"]) > 0
    assert shown["wsgi.url_scheme"] == "http"
    assert not {"REMOTE_USER", "HTTPS"} & set(shown)
    assert shown["HTTP_X_FORWARDED_FOR"] == "6.6.6.6"


@pytest.mark.parametrize("fields", [
    ["X-Remote-User: nobody", "X_Remote_User: admin"], ["X_Remote_User: admin", "x-remote-user: nobody"],
    ["X-Remote.User: a", "X-Remote-User: b"], ["X_Remote-User: a", "X-Remote_User: b"],
    ["Content_Length: 5"], ["User_Agent: x"], ["X_Forwarded_For: 6.6.6.6"]])
def test_fields_that_come_to_one_variable_are_refused(worker, fields):
    assert exchange(worker, get("variables", *fields)).startswith(b"HTTP/1.1 400 ")


def test_fields_that_do_not_collide(worker):
    shown = told(worker, "X_Alone: 1", "X-Two: a", "x-two: b", "Proxy: evil", "Cookie: a=1",
                 "cookie: b=2", "X-Blank:", "X_Blank: x", "Content-Type: text/x")
    assert shown["HTTP_X_ALONE"] == "1"
    assert shown["HTTP_X_TWO"] == "a, b"
    assert shown["HTTP_COOKIE"] == "a=1; b=2"
    assert shown["HTTP_X_BLANK"] == "x"
    assert shown["CONTENT_TYPE"] == "text/x"
    assert not {"HTTP_PROXY", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & set(shown)


def test_paths_and_queries(worker):
    shown = told(worker, path="variables/a%20b%2F%C3%A9?x=%20&y")
    assert shown["PATH_INFO"].encode("latin-1") == "/hot/variables/a b/é".encode()
    assert (shown["SCRIPT_NAME"], shown["QUERY_STRING"]) == ("", "x=%20&y")
    assert shown["REQUEST_URI"] == "/hot/variables/a%20b%2F%C3%A9?x=%20&y"
    request = "GET /hot/variables/é?ü HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n".encode()
    shown = json.loads(exchange(worker, request).partition(b"\r\n\r\n")[2])
    assert shown["PATH_INFO"].encode("latin-1") == "/hot/variables/é".encode()


def test_several_processes_and_threads(tmp_path):
    for threads, several in ((1, False), (4, True)):
        one = fronts.Cat(tmp_path, command("--threads", threads))
        shown = told(one)
        assert (shown["wsgi.multithread"], shown["wsgi.multiprocess"]) == (several, True)
        one.stop()


def test_a_worker_with_its_own_path_is_one_process(tmp_path):
    path = str(tmp_path / "handoff")
    worker = subprocess.Popen(command("--listen", path), stdin=subprocess.DEVNULL)
    try:
        fronts.wait_until(lambda: fronts.pathlib.Path(path).exists(), "the worker to listen")
        one = fronts.Cat(tmp_path, [], options=["--connect", path])
        assert told(one)["wsgi.multiprocess"] is False
        one.stop()
        fronts.terminate(worker.pid)
        assert worker.wait(30) == 0
    finally:
        worker.kill()


# The connection goes back.

@pytest.mark.parametrize("front", ["cat", "lighttpd-uri"], indirect=True)
@pytest.mark.parametrize("sample", ["wsgi"])
def test_uploads_and_others_on_one_connection(front, sample):
    """Also in one go: what was read beyond a body is the next request."""
    one = front(sample)
    upload = b"POST /hot/x HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc"
    chunked = b"POST /hot/x HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
    other = b"GET /nothing-here HTTP/1.1\r\nHost: t\r\n\r\n"
    last = b"GET /hot/x HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
    answers = exchange(one, (upload + other + chunked) * 5 + last)
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"404", b"200"] * 5 + [b"200"]
    assert re.findall(rb"\n(\d)\n", answers) == [b"3", b"2"] * 5


def test_with_close_no_connection_goes_back(tmp_path):
    one = fronts.Cat(tmp_path, command("--close"))
    answer = exchange(one, get("several", close=False))
    assert b"\r\nConnection: close\r\n" in answer
    one.stop()


def test_the_application_may_close_the_connection(worker):
    """breaks_off and what has no length for HTTP/1.0 do, too."""
    for request in (get("breaks_off", close=False), get("generator", version="1.0", close=False)):
        exchange(worker, request)  # ends


# At the start

@pytest.mark.parametrize("arguments, words", [
    (["odd_apps:ap"], "'odd_apps' has no 'ap'"), (["odd_app:app"], "no module 'odd_app'"),
    (["odd_apps"], "'odd_apps' has no 'application'"), (["odd_apps:TEXT"], "cannot be called"),
    ([":app"], "must be module:attribute"), ([".x:app"], "must be module:attribute"),
    (["--threads", "0", "odd_apps:app"], "--threads: 0 is not"),
    (["--threads", "-1", "odd_apps:app"], "--threads: -1 is not"),
    (["--threads", "many", "odd_apps:app"], "--threads: 'many' is not"),
    (["--grace", "-1", "odd_apps:app"], "--grace: -1"), (["--grace", "nan", "odd_apps:app"], "argument --grace: "),
    (["--body-max", "x", "odd_apps:app"], "argument --body-max: "), (["--read-idle", "0", "odd_apps:app"], "argument --read-idle: "),
    (["--listen", "/nowhere/x", "odd_apps:app"], "cannot listen on /nowhere/x"),
])
def test_mistakes_are_said_once_in_words(arguments, words):
    ours, queue = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, queue:
        done = subprocess.run([*command()[:-1], *arguments], stdin=queue, capture_output=True, text=True,
                              timeout=60, check=False)
        assert done.returncode not in (0, -15)
        assert done.stderr.count(words) == 1, done.stderr
        assert "Traceback" not in done.stderr
        assert not select.select([ours], [], [], 0)[0] or not ours.recv(1)  # no hello


def test_an_application_that_cannot_be_imported_shows_why(tmp_path):
    (tmp_path / "broken.py").write_text("import not_there_at_all\n")
    done = subprocess.run(command(app="broken:app"), cwd=tmp_path, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == os.EX_CONFIG  # lighttpd does not start it again and again
    assert "not_there_at_all" in done.stderr and "broken:app" in done.stderr
