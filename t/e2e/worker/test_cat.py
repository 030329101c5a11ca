# SPDX-License-Identifier: BSD-3-Clause
"""fdworker-cat, which stands in for lighttpd while a worker is written, understands what lighttpd
understands."""
import socket
import sys

import fronts

# Receives two requests, answers both, says so of both in one message, and returns the second.
WORKER = '''
import select, socket, struct
HEADER = struct.Struct("<4sBBHQIIII")
queue = socket.socket(fileno=0)
queue.send(HEADER.pack(b"LFDT", 2, 2, 16, 0, 0, 0, 0, 0))
def receive():
    message, fds, _, _ = socket.recv_fds(queue, 69664, 1)
    return HEADER.unpack(message[:32])[4] if message else None, fds
while True:
    (first, fds), (second, more) = receive(), receive()
    if second is None:
        break
    for fd in fds + more:
        with socket.socket(fileno=fd) as client:
            client.send(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
    queue.send(HEADER.pack(b"LFDT", 2, 3, 0, first, 0, 0, 0, 0)
               + HEADER.pack(b"LFDT", 2, 4, 8, second, 0, 0, 0, 0))
'''
REQUEST = b"GET /hot/ HTTP/1.1\r\nHost: t\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def test_what_a_worker_says_of_several_requests_in_one_message(tmp_path):
    one = fronts.Cat(tmp_path, [sys.executable, "-c", WORKER], workers=1)
    fronts.wait_until(lambda: "says hello" in one.log_text(), "hello")
    address = ("127.0.0.1", one.port)
    with socket.create_connection(address, 20) as first:
        first.sendall(REQUEST)
        with socket.create_connection(address, 20) as second:
            second.sendall(REQUEST)
            assert (first.recv(100), second.recv(100)) == (ANSWER, ANSWER)
            assert first.recv(100) == b""   # of which it was told that it is the worker's
            second.sendall(REQUEST)         # which it goes on with
            with socket.create_connection(address, 20) as third:
                third.sendall(REQUEST)
                assert (second.recv(100), third.recv(100)) == (ANSWER, ANSWER)
    one.stop()
    assert "rubbish" not in one.log_text()
