# SPDX-License-Identifier: BSD-3-Clause
"""A WebSocket over HTTP/1.1 that looks like one over HTTP/2: for cases that must hold on both."""
import asyncio
import contextlib

import http2_client

REQUEST = ("GET {} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{}\r\n")


class Connection:
    """As http2_client.Connection, for one WebSocket."""

    def __init__(self, reader, writer):
        self.reader, self.writer, self.closed, self._reading = reader, writer, False, None

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, server, **_):
        connection = cls(*await asyncio.open_connection("127.0.0.1", server.port))
        try:
            yield connection
        finally:
            connection.writer.transport.abort()

    async def websocket(self, path, **fields):
        """An open WebSocket; `fields` of the request with _ for -."""
        stream = Stream(self, 0)
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        self.writer.write(REQUEST.format(path, lines).encode())
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        assert head[0].split()[1] == "101", head
        stream.headers = {name.lower(): value for name, value in
                          (line.split(": ", 1) for line in head[1:] if line)}
        stream.headers[":status"] = "200"
        self.stream = stream
        return stream

    async def until(self, condition):
        """Reads until the condition is true. One task at a time may wait."""
        while not self.closed and not condition():
            data = await asyncio.wait_for(self.reader.read(1 << 18), http2_client.TIMEOUT)
            if data:
                self.stream.take(data)
            self.closed = not data


class Stream(http2_client.Stream):
    async def send_bytes(self, data, end_stream=False):
        self.connection.writer.write(data)
        await self.connection.writer.drain()
