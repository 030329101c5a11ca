# SPDX-License-Identifier: BSD-3-Clause
"""Start and end of the application: ASGI's lifespan protocol, with uvicorn's meaning of auto and on."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from .loading import Application, Message, Scope

log = logging.getLogger("fdworker.asgi")


class LifespanFailed(Exception):
    """The application has said, or shown, that it cannot start. It is in the log."""


class Lifespan:
    """startup(), then shutdown(). `state` is what the application put into its scope for requests."""

    def __init__(self, app: Application, mode: str, asgi_version: str) -> None:
        self._app = app
        self._mode = mode
        self._asgi_version = asgi_version
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._started = asyncio.Event()
        self._stopped = asyncio.Event()
        self._failed = False  # it has said so
        self._unsupported = False  # it has raised an exception, or returned, before it was asked to
        self._task: asyncio.Task[None] | None = None
        self.state: dict[str, Any] = {}

    async def startup(self) -> None:
        if self._mode == "off":
            return
        self._task = asyncio.create_task(self._run())
        await self._messages.put({"type": "lifespan.startup"})
        await self._started.wait()
        if self._failed or (self._unsupported and self._mode == "on"):
            log.error("Application startup failed. Exiting.")
            raise LifespanFailed

    async def shutdown(self, timeout: float) -> None:
        """Returns when the application has ended, or after `timeout` seconds."""
        if not self._task or self._task.done():
            return
        await self._messages.put({"type": "lifespan.shutdown"})
        try:
            await asyncio.wait_for(self._stopped.wait(), timeout)
        except asyncio.TimeoutError:
            log.error("Application shutdown took longer than %g s. Exiting.", timeout)
        if self._failed:
            log.error("Application shutdown failed. Exiting.")

    async def _run(self) -> None:
        scope: Scope = {
            "type": "lifespan",
            "asgi": {"version": self._asgi_version, "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self._app(scope, self._messages.get, self._send)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._unsupported = not self._started.is_set()
            if self._failed:
                pass
            elif self._mode == "auto" and self._unsupported:
                log.info("ASGI 'lifespan' protocol appears unsupported.")
            else:
                log.error("Exception in 'lifespan' protocol", exc_info=error)
        finally:
            self._started.set()
            self._stopped.set()

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        phase, _, outcome = kind.rpartition(".")
        done = {"lifespan.startup": self._started, "lifespan.shutdown": self._stopped}.get(phase)
        if done is None or outcome not in ("complete", "failed"):
            raise RuntimeError(f"Unexpected ASGI message '{kind}' in the lifespan protocol.")
        if done.is_set() or (done is self._stopped and not self._started.is_set()):
            raise RuntimeError("Got invalid state transition on lifespan protocol.")
        if outcome == "failed":
            self._failed = True
            if message.get("message"):
                log.error("%s", message["message"])
        done.set()
