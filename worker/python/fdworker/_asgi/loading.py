# SPDX-License-Identifier: BSD-3-Clause
"""Finds the application, and makes ASGI 3 of whatever it is. Complaints are for people: SystemExit."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import os
import re
import sys
import traceback
from typing import Any, Awaitable, Callable, MutableMapping

from .options import Options

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[object]]  # which should be None

PYTHON = (3, 9)  # at least
LIBRARIES = {"h11": ((0, 14), (1, 0)), "wsproto": ((1, 2), (2, 0))}  # at least, tested up to


def _fail(text: str) -> SystemExit:
    return SystemExit(f"fdworker.asgi: {text}")


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def check_versions() -> list[str]:
    """Warnings about libraries that are newer than any known. SystemExit if one is too old."""
    needs = f"needs Python {_dotted(PYTHON)} or newer" + "".join(
        f", {name} {_dotted(least)} or newer (before {_dotted(end)})"
        for name, (least, end) in LIBRARIES.items()
    )
    if sys.version_info < PYTHON:
        raise _fail(f"{needs}. This is Python {_dotted(sys.version_info[:2])}.")
    warnings = []
    for name, (least, end) in LIBRARIES.items():
        try:
            importlib.import_module(name)
        except ImportError:
            raise _fail(f"{needs}. {name} is missing: install python3-{name}.") from None
        text = importlib.metadata.version(name)
        version = tuple(map(int, re.findall(r"\d+", text)[:2]))
        if version < least:
            raise _fail(f"{needs}. This is {name} {text}.")
        if version >= end:
            warnings.append(f"{needs}. {name} {text} is newer: untried, hoping for the best.")
    return warnings


def load(options: Options) -> tuple[Application, str]:
    """The application as ASGI 3, and the version of ASGI that it takes itself for."""
    sys.path.insert(0, os.path.abspath(options.app_dir))
    app = _find(options.app)
    if options.factory:
        app = _made_by(app, options.app)
    if not callable(app):
        raise _fail(f"{options.app} is no application: it cannot be called (it is a "
                    f"{type(app).__name__})")  # fmt: skip
    interface = options.interface
    if interface == "auto":
        interface = _interface(app, options.app)
    if interface == "wsgi":
        from .wsgi import WsgiApplication

        return WsgiApplication(app), "3.0"
    return (_of_asgi2(app), "2.0") if interface == "asgi2" else (app, "3.0")


def _find(name: str) -> Any:
    module_name, colon, attributes = name.partition(":")
    if not module_name or not attributes:
        raise _fail(f'"{name}" should be module:attribute, such as app:app')
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing != module_name and not module_name.startswith(missing + "."):
            raise _broken(module_name) from None
        raise _fail(f'there is no module "{module_name}" in {sys.path[0]}, nor in Python\'s path '
                    "(--app-dir says where to look)") from None  # fmt: skip
    except Exception:
        raise _broken(module_name) from None
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            raise _fail(f'module "{module_name}" has no attribute "{attributes}"') from None
    return found


def _broken(module: str) -> SystemExit:
    """The application's own fault: its author wants to see where."""
    return _fail(f'module "{module}" cannot be imported:\n{traceback.format_exc().rstrip()}')


def _made_by(factory: Any, name: str) -> Any:
    try:
        return factory()
    except Exception:
        raise _fail(f"the factory {name} failed:\n{traceback.format_exc().rstrip()}") from None


def _interface(app: Any, name: str) -> str:
    if inspect.isclass(app):
        return "asgi3" if hasattr(app, "__await__") else "asgi2"
    call = app if inspect.isfunction(app) else getattr(app, "__call__", None)
    if inspect.iscoroutinefunction(call):
        return "asgi3"
    try:
        inspect.signature(app).bind(None, None)
    except (TypeError, ValueError):
        return "asgi2"
    raise _fail(f"{name} takes two arguments, as a WSGI application does: say --interface wsgi, or "
                "use python3 -m fdworker.wsgi")  # fmt: skip


def _of_asgi2(app: Any) -> Application:
    async def application(scope: Scope, receive: Receive, send: Send) -> object:
        return await app(scope)(receive, send)

    return application
