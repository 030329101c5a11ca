# SPDX-License-Identifier: BSD-3-Clause
"""What a WSGI application is told of a request (PEP 3333), with the names of CGI.

Who the client is comes from the hand-off, that is from lighttpd, never from fields of the request.
"""

from __future__ import annotations

import functools
import re
import socket
import sys
from typing import Any, BinaryIO
from urllib.parse import unquote_to_bytes

import h11

from ..queue import Handoff
from .request import Refused

# Names that mean something to lighttpd or to a program behind it. A field that only looks like one
# of them where names are variables, such as Content_Length, is refused, as lighttpd does before
# FastCGI and SCGI.
WELL_KNOWN = frozenset(
    b"accept accept-encoding accept-language accept-ranges access-control-allow-origin age allow "
    b"alt-svc alt-used authorization cache-control connection content-encoding content-length "
    b"content-location content-range content-security-policy content-type cookie date dnt etag "
    b"expect expires forwarded host http2-settings if-match if-modified-since if-none-match "
    b"if-range if-unmodified-since incremental last-modified link location onion-location p3p "
    b"pragma priority proxy range referer referrer-policy server set-cookie status "
    b"strict-transport-security te transfer-encoding upgrade upgrade-insecure-requests user-agent "
    b"vary www-authenticate x-content-type-options x-forwarded-for x-forwarded-proto "
    b"x-frame-options x-xss-protection".split()
)
# Those that have another variable, or none: `Proxy` would become HTTP_PROXY, by which programs find
# a proxy for their own requests (httpoxy.org); how the body was framed is over once it is read.
OTHER_VARIABLES = {
    b"content-type": "CONTENT_TYPE",
    b"content-length": None,
    b"transfer-encoding": None,
    b"proxy": None,
}


@functools.lru_cache(maxsize=1024)
def variable(name: bytes) -> str | None:
    """The variable of a field whose name is in lower case. Raises Refused."""
    if name in OTHER_VARIABLES:
        return OTHER_VARIABLES[name]
    if re.sub(rb"[^a-z0-9]", b"-", name) != name and (
        re.sub(rb"[^a-z0-9]", b"-", name) in WELL_KNOWN
    ):
        raise Refused(400)
    return "HTTP_" + re.sub(rb"[^a-z0-9]", b"_", name).decode().upper()


def field_variables(fields: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """A variable for each field; several of one name are joined.

    Raises Refused when different names come to one variable: lighttpd and its modules have judged
    only one of them, such as X-Remote-User, and an application cannot tell it from X_Remote_User.
    """
    variables: dict[str, str] = {}
    names: dict[str, bytes] = {}
    for name, content in fields:
        key = variable(name)
        if key is None or not content:  # blank means absent
            continue
        value = content.decode("latin-1")
        if key not in names:
            names[key] = name
            variables[key] = value
        elif names[key] == name:
            variables[key] += ("; " if name == b"cookie" else ", ") + value
        else:
            raise Refused(400)
    return variables


def split_target(target: bytes) -> tuple[bytes, bytes]:
    """Path and query of a request target, which may be absolute, or `*`."""
    path, _, query = target.partition(b"?")
    if not path.startswith(b"/"):
        absolute = re.match(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/]*", path)
        path = path[absolute.end() :] if absolute else b""
    return path, query


def local_address(sock: socket.socket) -> tuple[str, str]:
    """SERVER_NAME and SERVER_PORT, neither of which may be empty."""
    try:
        name = sock.getsockname()
    except OSError:
        name = ""
    return (name[0], str(name[1])) if isinstance(name, tuple) else ("localhost", "80")


def make_environ(
    handoff: Handoff, request: h11.Request, body: BinaryIO, body_length: int | None
) -> dict[str, Any]:
    """The variables of this request; those of the server (wsgi.multithread ...) are to be added.

    `body_length` is None for a request without a body. Raises Refused.
    """
    path, query = split_target(request.target)
    server_name, server_port = local_address(handoff.sock)
    address, port = handoff.client or ("", "")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method.decode("ascii"),
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query.decode("latin-1"),
        "REQUEST_URI": request.target.decode("latin-1"),
        "CONTENT_TYPE": "",
        "CONTENT_LENGTH": "" if body_length is None else str(body_length),
        "SERVER_NAME": server_name,
        "SERVER_PORT": server_port,
        "SERVER_PROTOCOL": "HTTP/" + request.http_version.decode("ascii"),
        "GATEWAY_INTERFACE": "CGI/1.1",
        "REMOTE_ADDR": address,
        "REMOTE_PORT": str(port),
        "REQUEST_SCHEME": handoff.scheme,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": handoff.scheme,
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.run_once": False,
    }
    environ.update(field_variables(list(request.headers)))
    if handoff.user is not None:
        environ["REMOTE_USER"] = handoff.user
    if handoff.scheme == "https":
        environ["HTTPS"] = "on"
    return environ
