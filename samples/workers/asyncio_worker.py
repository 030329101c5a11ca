#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A worker in asyncio on the fdworker package: thousands of requests at once, one task for each.

    /hot/slow?ms=500     the time, later
    /hot/...             the time
"""

import asyncio
import re
import time

import fdworker.aio


async def answer(
    handoff: fdworker.Handoff, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    slow = re.search(r"/slow\?ms=(\d+)", handoff.request_line)
    await asyncio.sleep(int(slow[1]) / 1000 if slow else 0)
    body = b"%.3f\n" % time.time()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n"
                 b"Content-Length: %d\r\n\r\n" % len(body))
    if handoff.request_line.startswith("HEAD "):
        body = b""
    writer.write(body)
    await writer.drain()
    handoff.done(200, len(body))  # for lighttpd's access log


asyncio.run(fdworker.aio.serve(answer))
