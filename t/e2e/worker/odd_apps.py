# SPDX-License-Identifier: BSD-3-Clause
"""WSGI applications that use all that PEP 3333 allows, and some that it does not. APPS has them by
their path; the same run in fdworker.wsgi and in waitress."""
import io
import json
import sys
import tempfile
import threading
import time
import urllib.parse
from wsgiref.validate import validator

TEXT = [("Content-Type", "text/plain")]
closed = []  # paths of the iterables that were closed


class Blocks:
    """An iterable that notes its end."""

    def __init__(self, name, blocks):
        self._name, self._blocks = name, iter(blocks)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._blocks)

    def close(self):
        closed.append(self._name)


def echo(environ, start_response):
    start_response("200 OK", TEXT)
    return [environ["wsgi.input"].read(-1)]


def lines(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"%d\n" % len(list(environ["wsgi.input"])), (environ.get("CONTENT_LENGTH") or "0").encode()]


def variables(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    shown = {name: value for name, value in environ.items() if isinstance(value, (str, bool))}
    return [json.dumps(shown).encode()]


def stream(environ, start_response):
    start_response("200 OK", TEXT)
    return Blocks("stream", [b"one ", b"", b"two ", b"three"])


def several(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"a", b"", b"b"]


def generator(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"gen"
    yield b"erated"


def writes(environ, start_response):
    write = start_response("200 OK", TEXT)
    write(b"written, ")
    write(b"")
    write(b"and ")
    return [b"returned"]


def empty(environ, start_response):
    start_response("200 OK", TEXT)
    return []


def no_content(environ, start_response):
    start_response("204 No Content", [])
    return []


def not_modified(environ, start_response):
    start_response("304 Not Modified", [("ETag", '"x"')])
    return []


def replaces(environ, start_response):
    start_response("200 OK", TEXT)
    try:
        raise ValueError("on purpose")
    except ValueError:
        start_response("503 Sorry", TEXT, sys.exc_info())
    return [b"sorry"]


def late_error(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"begun"
    try:
        raise ValueError("on purpose")
    except ValueError:
        start_response("500 Late", TEXT, sys.exc_info())
    yield b"never"


def twice(environ, start_response):
    start_response("200 OK", TEXT)
    start_response("200 OK", TEXT)
    return [b"never"]


def fails(environ, start_response):
    raise ValueError("on purpose")


def fails_later(environ, start_response):
    start_response("200 OK", TEXT)
    raise ValueError("on purpose")


def breaks_off(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"begun"
    raise ValueError("on purpose")


def short(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "10")])
    yield b"short"


def long(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "4")])
    return [b"longer"]


def silent(environ, start_response):
    return [b"never"]


def text(environ, start_response):
    start_response("200 OK", TEXT)
    return ["not bytes"]


def exits(environ, start_response):
    raise SystemExit(3)


def injects(environ, start_response):
    start_response("200 OK", [*TEXT, ("X-A", "a\r\nX-B: b")])
    return [b"never"]


def bad_status(environ, start_response):
    start_response("OK", TEXT)
    return [b"never"]


def latin(environ, start_response):
    start_response("200 OK", [*TEXT, ("X-Name", "Jos\xe9")])
    return ["é".encode("latin-1")]


def file(environ, start_response):
    content = tempfile.TemporaryFile()
    content.write(b"0123456789" * 100_000)
    content.seek(10)
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](content, 4096)


def no_real_file(environ, start_response):
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](io.BytesIO(b"not on disk" * 1000), 100)


def closes(environ, start_response):
    start_response("200 OK", TEXT)
    return [",".join(closed).encode()]


def size(environ, start_response):
    """?n=bytes, in blocks of 64 KiB."""
    left = int(urllib.parse.parse_qs(environ["QUERY_STRING"])["n"][0])
    start_response("200 OK", TEXT)
    while left > 0:
        block = b"x" * min(left, 65536)
        left -= len(block)
        yield block


def threads(environ, start_response):
    """Which thread; after ?ms= milliseconds."""
    query = urllib.parse.parse_qs(environ["QUERY_STRING"])
    time.sleep(int(query.get("ms", ["0"])[0]) / 1000)
    start_response("200 OK", TEXT)
    return [threading.current_thread().name.encode()]


def refuses(environ, start_response):
    """Does not read."""
    start_response("413 No", TEXT)
    return [b"no"]


CORRECT = [echo, lines, variables, stream, several, generator, writes, empty, no_content,
           not_modified, replaces, late_error, breaks_off, fails, fails_later, latin, file,
           no_real_file, closes, size, threads, refuses]
WRONG = [twice, short, long, silent, text, exits, injects, bad_status]
APPS = {one.__name__: one for one in CORRECT + WRONG}
VALIDATED = {one.__name__: validator(one) for one in CORRECT if one not in (file, no_real_file)}


def app(environ, start_response):
    """/hot/NAME: that application; /hot/validated/NAME: as wsgiref.validate sees it."""
    _, _, *rest = environ["PATH_INFO"].split("/")
    found = VALIDATED[rest[1]] if rest[0] == "validated" else APPS[rest[0]]
    return found(environ, start_response)
