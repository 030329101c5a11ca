# SPDX-License-Identifier: BSD-3-Clause
"""What the runners' command lines have in common: numbers within bounds, and `module:app`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from typing import Any, Callable, TypeVar

N = TypeVar("N", int, float)


def whole(min: int, max: int | None = None) -> Callable[[str], int]:
    """A type for argparse: a whole number in this range."""
    return lambda text: _number(int, "a whole number", min, max, text)


def seconds(min: float, max: float | None = None) -> Callable[[str], float]:
    """A type for argparse: a number of seconds in this range."""
    return lambda text: _number(float, "a number of seconds", min, max, text)


def _number(kind: Callable[[str], N], words: str, min: N, max: N | None, text: str) -> N:
    range = f"from {min}" + ("" if max is None else f" to {max}")
    try:
        value = kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not {words} {range}") from None
    if not (min <= value and (max is None or value <= max)):  # not a number is in no range
        raise argparse.ArgumentTypeError(f"{text} is not {words} {range}")
    return value


def load_application(program: str, name: str, default: str) -> Any:
    """The object that `module:attribute` names, imported from the current directory or PYTHONPATH.

    Raises SystemExit with one explanation. What an application's own code raises is shown whole.
    """
    module_name, _, attributes = name.partition(":")
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        found = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not error.name or not (module_name + ".").startswith(error.name + "."):
            traceback.print_exc()
            raise SystemExit(f"{program}: {name}: {module_name} imports what is not there") from None
        raise SystemExit(
            f"{program}: {name}: there is no module {error.name!r} in {folder} or PYTHONPATH"
        ) from None
    except (ValueError, TypeError):
        raise SystemExit(f"{program}: {name!r}: must be module:attribute") from None
    except Exception:
        traceback.print_exc()
        raise SystemExit(f"{program}: {name}: {module_name} cannot be imported") from None
    for attribute in (attributes or default).split("."):
        if not hasattr(found, attribute):
            raise SystemExit(f"{program}: {name}: {module_name!r} has no {attributes or default!r}")
        found = getattr(found, attribute)
    if not callable(found):
        raise SystemExit(f"{program}: {name}: is {type(found).__name__}, which cannot be called")
    return found
