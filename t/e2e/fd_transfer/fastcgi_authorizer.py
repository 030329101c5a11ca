# SPDX-License-Identifier: BSD-3-Clause
"""A FastCGI authorizer: lets pass what has the field `X-Key: open`, and counts what it is asked."""
import socket
import struct
import threading

BEGIN, END, PARAMS, STDOUT = 1, 3, 4, 6


class Authorizer:
    """Listens on a unix socket. Use as a context manager."""

    def __init__(self, path):
        self.asked = []  # the method and URI of each request
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind, value, traceback):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client, client.makefile("rb") as stream:
            params = b""
            while header := stream.read(8):
                _, kind, number, length, padding = struct.unpack("!BBHHBx", header)
                content = stream.read(length + padding)[:length]
                if kind == PARAMS and content:
                    params += content
                elif kind == PARAMS:
                    return self._decide(client, number, dict(pairs(params)))

    def _decide(self, client, number, params):
        self.asked.append((params["REQUEST_METHOD"], params["REQUEST_URI"]))
        status = b"200 OK" if params.get("HTTP_X_KEY") == "open" else b"403 Forbidden"
        text = b"Status: " + status + b"\r\nContent-Type: text/plain\r\n\r\n"
        for kind, content in ((STDOUT, text), (STDOUT, b""), (END, bytes(8))):
            client.sendall(struct.pack("!BBHHBx", 1, kind, number, len(content), 0) + content)


def pairs(data):
    """FastCGI's name-value pairs."""
    def size():
        nonlocal data
        wide = data[0] & 0x80
        value = struct.unpack("!I", data[:4])[0] & 0x7FFFFFFF if wide else data[0]
        data = data[4 if wide else 1:]
        return value
    while data:
        name, value = size(), size()
        yield data[:name].decode(), data[name:name + value].decode("latin-1")
        data = data[name + value:]
