#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A blocking worker on the fdworker package: 16 requests at once, each in a thread.

    /hot/slow?ms=500     the time, later
    /hot/...             the time
"""

import re
import time

import fdworker


def answer(handoff: fdworker.Handoff) -> None:
    slow = re.search(r"/slow\?ms=(\d+)", handoff.request_line)
    time.sleep(int(slow[1]) / 1000 if slow else 0)
    body = b"%.3f\n" % time.time()
    # Only a request without a body leaves the connection where the next one begins.
    keep = handoff.request_line.startswith(("GET ", "HEAD ")) and not re.search(
        rb"(?mi)^(connection: *close|content-length|transfer-encoding)", handoff.head)
    head = (b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n%sContent-Length: %d\r\n\r\n"
            % (b"" if keep else b"Connection: close\r\n", len(body)))
    if handoff.request_line.startswith("HEAD "):
        body = b""
    handoff.sock.sendall(head + body)
    if not keep or not handoff.give_back(handoff.rest, 200, len(body)):
        handoff.close(200, len(body))


fdworker.serve(answer, threads=16)
