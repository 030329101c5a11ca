# SPDX-License-Identifier: BSD-3-Clause
"""A WSGI application: `python3 -m fdworker.wsgi wsgi_app:app` makes it a worker."""

import time
import urllib.parse


def app(environ, start_response):
    if environ["PATH_INFO"].endswith("/slow"):
        query = urllib.parse.parse_qs(environ["QUERY_STRING"])
        time.sleep(int(query["ms"][0]) / 1000)
    size = 0
    while part := environ["wsgi.input"].read(65536):
        size += len(part)
    body = b"%d\n" % size if environ["REQUEST_METHOD"] == "POST" else b"Hello from WSGI\n"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
