# SPDX-License-Identifier: BSD-3-Clause
"""Runs a WSGI application on handed-off sockets, in a pool of threads. Needs python3-h11.

    python3 -m fdworker.wsgi module:app
    python3 -m fdworker.wsgi --listen /run/app.handoff --threads 16 module:app

A thread begins when the request's body is here, and never waits for a client. After each response
the connection goes back to lighttpd. For mod_proxy's connections, too, use
`fdworker.asgi --interface wsgi`.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys

from ._wsgi.options import load_application, seconds, whole
from .complaints import told_once
from .sources import find_sources

PROGRAM = "python3 -m fdworker.wsgi"
OPTIONS = (  # name, type, default, what it means
    ("threads", whole(1, 10000), 8, "requests at work at once"),
    ("connections", whole(1), 1000, "requests that are received, at work, or answered at once"),
    ("body-max", whole(0), 1 << 30, "bytes of a request's body, if lighttpd does not say less"),
    ("body-memory", whole(0), 1 << 16, "... of it in memory; the rest in a temporary file"),
    ("read-idle", seconds(0.1), 60.0, "seconds without a byte of a body"),
    ("request-time", seconds(0.1), 300.0, "seconds for a body, and one more for each KiB of it"),
    ("response-memory", whole(0), 1 << 20, "bytes of a response that wait for its client in memory"),
    ("response-disk", whole(0), 1 << 30, "... and in a temporary file, before the application waits"),
    ("write-idle", seconds(0.1), 360.0, "seconds without a byte of a response being taken"),
    ("grace", seconds(0), 30.0, "seconds to end what is in work when the worker is to end"),
)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("app", help="module:attribute of the WSGI application")
    parser.add_argument("--listen", metavar="PATH", help="unix socket for lighttpd's hand-offs")
    parser.add_argument("--close", action="store_true", help="close connections, return none")
    for name, kind, default, text in OPTIONS:
        help = f"{text} ({default:g})" if isinstance(default, float) else f"{text} ({default})"
        parser.add_argument(f"--{name}", type=kind, default=default, metavar="N", help=help)
    return parser.parse_args()


def main() -> None:
    options = read_options()
    logging.basicConfig(format="%(name)s: %(message)s", level=logging.WARNING)
    with told_once():
        try:
            from ._wsgi.output import OutputLimits
            from ._wsgi.server import Limits, Server
        except ModuleNotFoundError as error:
            raise SystemExit(f"{PROGRAM}: needs {error.name} (python3-{error.name})") from None
        application = load_application(PROGRAM, options.app, "application")
        sources = find_sources(options.listen).require()
    limits = Limits(
        threads=options.threads,
        connections=options.connections,
        body=options.body_max,
        body_memory=options.body_memory,
        read_idle=options.read_idle,
        request_time=options.request_time,
        output=OutputLimits(options.response_memory, options.response_disk, options.write_idle),
        grace=options.grace,
    )
    # Whoever has the queue on fd 0, or a socket from systemd, may have siblings.
    multiprocess = options.listen is None
    server = Server(
        application, sources, limits, multiprocess=multiprocess, returns=not options.close
    )
    if not server.run():
        logging.error("fdworker: not all responses ended within %g seconds", options.grace)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # without waiting for threads


if __name__ == "__main__":
    main()
