# SPDX-License-Identifier: BSD-3-Clause
"""Runs an ASGI application on handed-off sockets and on mod_proxy's socket.

    python3 -m fdworker.asgi module:app                            queue on fd 0
    python3 -m fdworker.asgi --listen /run/app.handoff module:app  lighttpd connects there
    python3 -m fdworker.asgi --http /run/app.http module:app       ... and mod_proxy there

After each response the connection goes back to lighttpd, and the next request on it may be for any
URL. With --keep the worker keeps the connection and answers all its later requests itself, past
lighttpd's access control.
"""

from __future__ import annotations

import asyncio
import logging
import sys

from .complaints import told_once
from .sources import find_sources

STARTUP_FAILED = 3  # exit status, as uvicorn's


def _configure_logging(level: str, access_log: bool) -> None:
    logging.addLevelName(5, "TRACE")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    ours = logging.getLogger("fdworker")
    ours.addHandler(handler)
    ours.setLevel(level.upper())
    ours.propagate = False
    logging.getLogger("fdworker.access").disabled = not access_log


def main() -> None:
    from ._asgi import loading, options

    with told_once():
        chosen = options.parse(__doc__ or "")
        _configure_logging(chosen.log_level, chosen.access_log)
        for warning in loading.check_versions():
            logging.getLogger("fdworker.asgi").warning("%s", warning)

        from ._asgi.lifespan import LifespanFailed
        from ._asgi.server import Server

        app, version = loading.load(chosen)
        sources = find_sources(chosen.listen, chosen.http).require()
    try:
        asyncio.run(Server(app, version, chosen, sources).serve())
    except LifespanFailed:
        sys.exit(STARTUP_FAILED)


if __name__ == "__main__":
    main()
