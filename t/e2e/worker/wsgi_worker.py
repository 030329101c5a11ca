# SPDX-License-Identifier: BSD-3-Clause
"""The WSGI runner with odd_apps behind a front, for the tests; and clients that see what is sent."""
import http.client
import pathlib
import socket

import fronts

HERE = pathlib.Path(__file__).parent
PATH = f"{fronts.PYTHON_PACKAGE}:{fronts.SAMPLES}:{HERE}"


def command(*options, app="odd_apps:app", module="fdworker.wsgi"):
    return ["/usr/bin/env", f"PYTHONPATH={PATH}", "/usr/bin/python3", "-m", module, *map(str, options),
            app]


def connect(one, request=b""):
    client = socket.create_connection(("127.0.0.1", one.port), timeout=30)
    client.sendall(request)
    return client


def read_all(client):
    with client:
        return b"".join(iter(lambda: client.recv(65536), b""))


def exchange(one, request):
    """What comes until the end of the connection."""
    return read_all(connect(one, request))


def get(path, *fields, method="GET", version="1.1", close=True):
    """The bytes of a request."""
    fields = ["Host: t", *fields, *(["Connection: close"] if close else [])]
    return f"{method} /hot/{path} HTTP/{version}\r\n{''.join(f + chr(13) + chr(10) for f in fields)}\r\n".encode()


def ask(port, method, path, body=None, fields={}):
    """Status, fields, body and whether the answer was whole, on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, f"/hot/{path}", body, fields)
        response = connection.getresponse()
        try:
            return response.status, response.headers, response.read(), True
        except http.client.IncompleteRead as error:
            return response.status, response.headers, error.partial, False
    finally:
        connection.close()
