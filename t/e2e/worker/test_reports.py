# SPDX-License-Identifier: BSD-3-Clause
"""What a worker tells its server: of every hand-off its end, whatever the client did, with the status
and the bytes that the client got."""
import re
import socket
import struct

import pytest
import wsproto
from wsproto.events import AcceptConnection, CloseConnection, Message, Request

import samples
from queue_end import Field, Kind, QueueEnd
from test_ending import get, read_all

REPORT = ["epoll", "beast", "lws", "echo"]
PLAIN = [name for name in REPORT if name in samples.ANSWER]
WEBSOCKET = [name for name in REPORT if name in samples.WEBSOCKET]
HANDSHAKE = ("GET /hot/echo HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").encode()


@pytest.fixture
def queue_end():
    started = []

    def start(sample):
        started.append(QueueEnd(sample))
        started[-1].wait_for_hello()
        return started[-1]
    yield start
    for one in started:
        one.close()


def body_of(answer):
    return answer.partition(b"\r\n\r\n")[2]


def status_of(answer):
    return int(re.match(rb"HTTP/1.[01] (\d+)", answer)[1])


@pytest.mark.parametrize("sample", REPORT)
def test_it_says_that_it_will(queue_end, sample):
    assert queue_end(sample).says_done


ANSWERED = {
    "get": get(),
    "head": get(method="HEAD"),
    "not found": get("/elsewhere"),
    "a method": get(method="DELETE"),
    "a body": get(fields="Content-Length: 2\r\nConnection: close\r\n", method="POST"),
    "an old client": get(fields="", version="1.0"),
}


@pytest.mark.parametrize("request_", ANSWERED.values(), ids=ANSWERED)
@pytest.mark.parametrize("sample", PLAIN)
def test_the_status_and_the_bytes_that_the_client_got(queue_end, sample, request_):
    one = queue_end(sample)
    number, client = one.hand_over(request_, rest=b"ok" if request_.startswith(b"POST") else b"")
    told = one.until_ended(number)
    if told.data:  # given back unanswered: another one's prefix
        return client.close()
    with client:
        answer = read_all(client)
    assert (told.status, told.bytes) == (status_of(answer), len(body_of(answer)))


@pytest.mark.parametrize("sample, rest, last", [
    ("beast", b"", Kind.RETURN),
    ("epoll", b"", Kind.DONE),  # which keeps the connection
    ("epoll", get("/elsewhere"), Kind.RETURN),
])
def test_connections_that_go_on(queue_end, sample, rest, last):
    one = queue_end(sample)
    number, client = one.hand_over(get(fields=""), rest=rest)
    with client:
        answer = client.recv(65536)
        told = one.until_ended(number)
    assert told.kinds[-1] == last and told.data == rest
    assert (told.status, told.bytes) == (200, len(body_of(answer)))


@pytest.mark.parametrize("sample", WEBSOCKET)
def test_a_websocket_session(queue_end, sample):
    one = queue_end(sample)
    state, seen, answer = wsproto.WSConnection(wsproto.ConnectionType.CLIENT), [], b""
    number, client = one.hand_over(state.send(Request(host="t", target="/hot/echo")))

    def until(kind):
        nonlocal answer
        while not any(isinstance(event, kind) for event in seen):
            assert (data := client.recv(65536))
            answer += data
            state.receive_data(data)
            seen.extend(state.events())
    with client:
        until(AcceptConnection)
        for size in 1, 1000, 70_000:
            seen.clear()
            client.sendall(state.send(Message(data="x" * size)))
            until(Message)
        client.sendall(state.send(CloseConnection(code=1000)))
        until(CloseConnection)
    told = one.until_ended(number)
    assert (told.status, told.bytes) == (101, len(body_of(answer)))


def leave(client, how):
    if how == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


REQUESTS = {
    "handshake": HANDSHAKE,
    "bad handshake": HANDSHAKE.replace(b"Version: 13", b"Version: 1"),
    "handshake without a key": re.sub(rb"Sec-WebSocket-Key.*?\n", b"", HANDSHAKE),
    "get": get(fields=""),
    "last get": get(),
    "head": get(method="HEAD"),
    "a body that does not come": get("/hot/upload", "Content-Length: 99999\r\n", "POST"),
    "chunks that do not come": get("/hot/upload", "Transfer-Encoding: chunked\r\n", "POST"),
    "chunks that are none": get("/hot/upload", "Transfer-Encoding: chunked\r\n", "POST") + b"zz\r\n",
    "an expectation": get("/hot/upload", "Expect: 100-continue\r\nContent-Length: 9\r\n", "POST"),
    "elsewhere": get("/elsewhere", fields=""),
    "no request at all": b"\x16\x03\x01rubbish\r\n\r\n",
    "fields that are none": b"GET /hot/now HTTP/1.1\r\nno field\r\n : \r\n\r\n",
    "events": get("/hot/events?ms=10"),
}


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("sample", REPORT)
def test_who_leaves_leaves_nothing_behind(queue_end, sample, how):
    """Before the worker has even received the request, and while it answers."""
    one = queue_end(sample)
    numbers = {}
    for name, request in REQUESTS.items():
        head_end = request.index(b"\r\n\r\n") + 4
        for _ in range(3):
            number, client = one.hand_over(request[:head_end], rest=request[head_end:])
            leave(client, how)
            numbers[number] = name
    left = [name for number, name in numbers.items() if not one.until_ended(number).has_ended]
    assert not left


@pytest.mark.parametrize("sample", WEBSOCKET)
def test_thirty_who_leave_before_the_101(queue_end, sample):
    one = queue_end(sample)
    numbers = []
    for _ in range(30):
        number, client = one.hand_over(HANDSHAKE)
        client.shutdown(socket.SHUT_WR)
        numbers.append((number, client))
    for number, client in numbers:
        client.close()
        one.until_ended(number)


@pytest.mark.parametrize("sample", ["beast"])
def test_a_body_in_chunks_is_held_to_the_limit_in_the_record(queue_end, sample):
    one = queue_end(sample)
    for size, status in (1000, 200), (1001, 413):
        request = get("/hot/upload", "Transfer-Encoding: chunked\r\nConnection: close\r\n", "POST")
        number, client = one.hand_over(request, {Field.BODY_LIMIT: 1000})
        with client:
            client.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (size, bytes(size)))
            assert one.until_ended(number).status == status
