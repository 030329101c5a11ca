# SPDX-License-Identifier: BSD-3-Clause
"""WebSockets over HTTP/2 (RFC 8441): python3-h2 for the streams, python3-wsproto for the frames."""
import asyncio
import contextlib

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import wsproto.connection
import wsproto.events

CONNECT_PROTOCOL = h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL
TIMEOUT = 30  # seconds, for anything that is awaited

# h2 takes GOAWAY for the end of the connection, but open streams go on (RFC 9113 6.8).
_states, _inputs = h2.connection.ConnectionState, h2.connection.ConnectionInputs
h2.connection.H2ConnectionStateMachine._transitions[
    _states.CLIENT_OPEN, _inputs.RECV_GOAWAY] = (None, _states.CLIENT_OPEN)


class Closed(Exception):
    """The WebSocket is at its end: by a Close with this code, or (None) without one."""

    def __init__(self, code, reason=None):
        super().__init__(f"closed: {code} {reason!r}")
        self.code, self.reason = code, reason


class Stream:
    """One stream of the connection, and the WebSocket on it once it is open."""

    def __init__(self, connection, number):
        self.connection, self.number = connection, number
        self.headers = None      # of the response
        self.body = b""          # of a response that is no WebSocket
        self.reset = None        # error code of RST_STREAM
        self.ended = False
        self.acknowledge = True  # whether what is read opens the window again
        self.unacknowledged = 0
        self.frames = wsproto.connection.Connection(wsproto.connection.ConnectionType.CLIENT)
        self.messages, self.pongs, self.pings, self.close = [], [], 0, None
        self._parts = []
        self._sending = asyncio.Lock()  # so that a pong waits for the end of a message's frame

    @property
    def status(self):
        return int(self.headers[":status"])

    async def response(self):
        await self.connection.until(lambda: self.headers or self.reset is not None)
        return self.status if self.headers else None

    # --- frames ---

    async def send_bytes(self, data, end_stream=False):
        """Bytes as they are, in DATA frames, as the peer's windows allow."""
        async with self._sending:
            await self._send_bytes(data, end_stream)

    async def _send_bytes(self, data, end_stream):
        connection = self.connection
        view = memoryview(data)
        while view:
            await connection.until(lambda: self.reset is not None or connection.closed
                                   or connection.h2.local_flow_control_window(self.number) > 0)
            if self.reset is not None or connection.closed:
                raise Closed(None)
            size = min(len(view), connection.h2.local_flow_control_window(self.number),
                       connection.h2.max_outbound_frame_size)
            connection.h2.send_data(self.number, view[:size].tobytes())
            view = view[size:]
            await connection.flush()
        if end_stream:
            connection.h2.end_stream(self.number)
            await connection.flush()

    async def send(self, message):
        kind = wsproto.events.TextMessage if isinstance(message, str) else \
            wsproto.events.BytesMessage
        await self.send_bytes(self.frames.send(kind(data=message)))

    async def send_close(self, code=1000):
        await self.send_bytes(self.frames.send(wsproto.events.CloseConnection(code=code)))

    async def send_ping(self, payload=b""):
        await self.send_bytes(self.frames.send(wsproto.events.Ping(payload=payload)))

    async def recv(self):
        """The next message. Raises Closed when there is none."""
        await self.connection.until(lambda: self.messages or self.close or self.at_end())
        if self.messages:
            return self.messages.pop(0)
        raise Closed(*(self.close or (None,)))

    async def wait_closed(self):
        """Waits for the end of the stream. The close code, or None."""
        await self.connection.until(self.at_end)
        return self.close[0] if self.close else None

    def at_end(self):
        return self.ended or self.reset is not None or self.connection.closed

    def cancel(self):
        self.connection.h2.reset_stream(self.number, h2.errors.ErrorCodes.CANCEL)
        return self.connection.flush()

    # --- what comes in ---

    def take(self, data):
        if self.status != 200:
            self.body += data
            return
        if data:
            self.frames.receive_data(data)  # nothing may follow a Close
        for event in self.frames.events():
            if isinstance(event, wsproto.events.Message):
                self._parts.append(event.data)
                if event.message_finished:
                    self.messages.append(self._parts[0][:0].join(self._parts))
                    self._parts = []
            elif isinstance(event, wsproto.events.Ping):
                self.pings += 1
                asyncio.create_task(self.send_bytes(self.frames.send(event.response())))
            elif isinstance(event, wsproto.events.Pong):
                self.pongs.append(bytes(event.payload))
            elif isinstance(event, wsproto.events.CloseConnection):
                self.close = (event.code, event.reason)


class Connection:
    """An HTTP/2 connection with prior knowledge, or over TLS by ALPN."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.streams = {}
        self.settings = None    # the server's first SETTINGS
        self.terminated = None  # error code of GOAWAY
        self.closed = False
        self._changed = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, server, context=None, window=None):
        """`server`: whatever has a port. `context`: for TLS. `window`: of each stream, for what the server sends; in bytes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
        if context:
            assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        connection = cls(reader, writer)
        connection.h2.initiate_connection()
        if window:
            connection.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        await connection.flush()
        await connection.until(lambda: connection.settings is not None or connection.closed)
        try:
            yield connection
        finally:
            connection._reading.cancel()
            writer.transport.abort()

    async def request(self, path, **fields):
        """An extended CONNECT; `fields` replace its own (None: leave out), with - for _, and a
        first _ for the colon: _scheme="ftp"."""
        headers = {":method": "CONNECT", ":protocol": "websocket", ":scheme": "http",
                   ":path": path, ":authority": "localhost", "sec-websocket-version": "13"}
        for name, value in fields.items():
            name = ":" + name[1:] if name.startswith("_") else name.replace("_", "-")
            headers[name] = value
        number = self.h2.get_next_available_stream_id()
        self.streams[number] = stream = Stream(self, number)
        self.h2.send_headers(number, [(k, v) for k, v in headers.items() if v is not None])
        await self.flush()
        return stream

    async def websocket(self, path, **fields):
        """An open WebSocket."""
        stream = await self.request(path, **fields)
        status = await stream.response()
        assert status == 200, f"refused with {status}"
        return stream

    async def flush(self):
        if data := self.h2.data_to_send():
            self.writer.write(data)
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def until(self, condition):
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(
                lambda: self._reading.done() and self._reading.exception() or condition()), TIMEOUT)
        if self._reading.done():
            self._reading.result()  # raises what the server did wrong

    async def _read(self):
        try:
            while data := await self.reader.read(65536):
                for event in self.h2.receive_data(data):
                    self._take(event)
                await self.flush()
                async with self._changed:
                    self._changed.notify_all()
        except ConnectionError:
            pass
        finally:
            self.closed = True
            async with self._changed:
                self._changed.notify_all()

    def _take(self, event):
        stream = self.streams.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.RemoteSettingsChanged) and self.settings is None:
            self.settings = {code: change.new_value
                             for code, change in event.changed_settings.items()}
        elif isinstance(event, h2.events.ResponseReceived):
            stream.headers = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            if stream.acknowledge:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            else:
                stream.unacknowledged += event.flow_controlled_length
            stream.take(event.data)
        elif isinstance(event, h2.events.StreamEnded):
            stream.ended = True
        elif isinstance(event, h2.events.StreamReset) and stream:
            stream.reset = event.error_code
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.terminated = event.error_code
