# SPDX-License-Identifier: BSD-3-Clause
"""The hand-off itself: every byte reaches the worker once, lighttpd lets go without a word."""
import hashlib
import os
import re
import signal
import socket
import time

import pytest

from service import STATUS, get, read_response, report, request, service, wait_for_counter


def test_a_request_is_answered_by_a_worker(start, stage):
    server = start(service(stage=stage))
    seen = report(request(server, get("/hot/page?x=1", "X-One: 1")))
    assert seen["pid"] in server.children() or seen["pid"] > 0
    assert seen["head"].startswith("GET /hot/page?x=1 HTTP/1.1\r\n")
    assert "\r\nX-One: 1\r\n" in seen["head"]
    assert seen["head"].endswith("\r\n\r\n") and seen["rest"] == ""


@pytest.mark.raw
def test_the_raw_stage_passes_on_the_head_as_the_client_wrote_it(start):
    server = start(service(stage="raw"))
    text = b"GET //hot/../hot/%70age HTTP/1.1\r\nHOST:   test\r\nx-Odd:a\r\nx-odd: b  \r\n\r\n"
    assert report(request(server, text))["head"] == text.decode()


def test_other_urls_stay_with_lighttpd(start, stage):
    server = start(service(stage=stage))
    (server.root / "style.css").write_text("css")
    assert request(server, get("/style.css"))[2] == b"css"
    assert request(server, get("/hotter"))[0] == 404


def test_a_body_sent_with_the_head_arrives_whole(start, stage):
    server = start(service(stage=stage))
    body = bytes(range(256)) * 20  # NUL bytes too
    head = f"POST /hot/ HTTP/1.1\r\nHost: t\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    seen = report(request(server, head + body))
    assert (seen["body"], seen["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())


def test_a_body_of_5_mb_sent_after_the_head_arrives_once(start, stage):
    server = start(service(stage=stage))
    body = bytes(i * 7 % 251 for i in range(5_000_000))
    head = f"POST /hot/ HTTP/1.1\r\nHost: t\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with server.connect() as sock:
        sock.sendall(head)
        server.wait_for(r'"POST /hot/ HTTP/1.1" 200', log="access")  # it is the worker's now
        sock.sendall(body)
        seen = report(read_response(sock))
    assert (seen["body"], seen["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
    assert seen["early"] == 0 and seen["rest"] == ""


def test_chunks_and_expect_continue_are_the_workers(start, stage):
    server = start(service(stage=stage))
    with server.connect() as sock:
        sock.sendall(b"POST /hot/ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n"
                     b"Expect: 100-continue\r\n\r\n")
        assert sock.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"5\r\nhello\r\n0\r\n\r\n")
        seen = report(read_response(sock))
    assert (seen["body"], seen["sha256"]) == (5, hashlib.sha256(b"hello").hexdigest())


def test_pipelined_requests_travel_with_the_first(start, stage):
    server = start(service(stage=stage))
    second = get("/hot/second")
    seen = report(request(server, get("/hot/first") + second))
    assert seen["head"].startswith("GET /hot/first ")
    assert seen["rest"] == second.decode()


def test_a_head_split_at_every_byte(start, stage):
    server = start(service(stage=stage, workers=2))
    text = get("/hot/split", "X-Last: value")
    for cut in range(1, len(text)):
        with server.connect() as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(text[:cut])
            # The rest must come in a read of its own: wait until the server has taken this part.
            while unread(sock, server):
                time.sleep(0)
            sock.sendall(text[cut:])
            assert report(read_response(sock))["head"].endswith("X-Last: value\r\n\r\n"), cut


def unread(sock, server):
    """True while bytes lie unread in the server's end of this connection."""
    local = "%s:%04X" % ("0100007F", sock.getsockname()[1])
    with open("/proc/net/tcp", encoding="ascii") as table:
        for row in table:
            fields = row.split()
            if fields[2] == local and fields[1].endswith(f":{server.port:04X}"):
                return int(fields[4].split(":")[1], 16) > 0
    return True  # not accepted yet


def test_a_head_of_64_kib_travels(start, stage):
    server = start("server.max-request-field-size = 65535\n" + service(stage=stage))
    fields = [f"X-{i}: {'v' * 1000}" for i in range(60)]
    seen = report(request(server, get("/hot/", *fields)))
    assert seen["head"].count("v" * 1000) == 60


@pytest.mark.raw
def test_more_than_64_kib_travel_in_a_memfd(start):
    """Head and early body together exceed what fits the record."""
    server = start("server.max-request-field-size = 65535\n" + service(stage="raw"))
    fields = [f"X-{i}: {'v' * 1000}" for i in range(60)]
    body = b"b" * 60_000
    head = ["POST /hot/ HTTP/1.1", "Host: t", f"Content-Length: {len(body)}", *fields, "", ""]
    seen = report(request(server, "\r\n".join(head).encode() + body))
    assert seen["flags"] & 1
    assert seen["sha256"] == hashlib.sha256(body).hexdigest()


def test_http_1_0(start, stage):
    server = start(service(stage=stage))
    assert report(request(server, get("/hot/", version="HTTP/1.0")))["head"].endswith("\r\n\r\n")


def test_1000_handoffs_leave_the_number_of_fds_where_it_was(start, stage):
    server = start(service(stage=stage, workers=2))
    report(request(server, get("/hot/")))
    before = server.fds()
    for _ in range(1000):
        request(server, get("/hot/"))
    # The last worker may answer before lighttpd has closed its own descriptor of the socket.
    server.wait_until(lambda: len(server.fds()) <= len(before), f"no more fds than {before}")


def test_the_access_log_shows_the_handoff(start, stage):
    """Service, and what waited in its queue when the request had joined it; written when a worker has
    received it."""
    server = start(STATUS + service(stage=stage, **{"log-status": 299}), modules=["mod_status"],
                   accesslog_format='\\"%r\\" %s %{FD_TRANSFER_SERVICE}e %{FD_TRANSFER_QUEUE}e')
    pid = report(request(server, get("/hot/")))["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        with server.connect() as one, server.connect() as two:
            one.sendall(get("/hot/one"))
            wait_for_counter(server, "handed-over", 2)
            two.sendall(get("/hot/two"))
            wait_for_counter(server, "handed-over", 3)
            os.kill(pid, signal.SIGCONT)
            first = server.wait_for(r'^"GET /hot/one HTTP/1.1" 299 /hot/ (\d+)$', log="access")
            second = server.wait_for(r'^"GET /hot/two HTTP/1.1" 299 /hot/ (\d+)$', log="access")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert 0 < int(first[1]) < int(second[1])


@pytest.mark.raw
def test_system_calls_of_a_handoff(make, tmp_path):
    """read, sendmsg, epoll_ctl DEL, close: no shutdown, nothing written to the client."""
    server = make(service(stage="raw"))
    trace = tmp_path / "trace"
    server.start(wrapper=("strace", "-D", "-o", str(trace), "-e",
                          "trace=desc,network,process", "-e", "signal=none"))
    text = get("/hot/traced")
    with server.connect() as sock:
        sock.sendall(text[:3])  # so that the server waits for the rest in its event loop
        while unread(sock, server):
            time.sleep(0)
        sock.sendall(text[3:])
        report(read_response(sock))
    server.stop()
    lines = trace.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("read(") and "/hot/traced" in line)
    client = re.match(r"read\((\d+),", lines[at])[1]
    after = [line for line in lines[at + 1:]
             if re.match(rf"\w+\({client}\b", line) or f"cmsg_data=[{client}]" in line
             or re.match(rf"epoll_ctl\(\d+, \w+, {client},", line)]
    calls = [re.sub(r"^(epoll_ctl)\(\d+, (\w+).*", r"\1 \2", line).partition("(")[0]
             for line in after]
    closed = calls.index("close")
    assert calls[:closed + 1] == ["sendmsg", "epoll_ctl EPOLL_CTL_DEL", "close"], after[:8]
