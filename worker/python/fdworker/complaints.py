# SPDX-License-Identifier: BSD-3-Clause
"""How a runner says that it will never run as it is configured: once, in words, with a status that
keeps lighttpd from starting it again and again."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Iterator


@contextlib.contextmanager
def told_once() -> Iterator[None]:
    """A SystemExit with a sentence becomes that sentence on stderr and exit status 78 (EX_CONFIG).

    lighttpd then waits for `restart-wait` before it starts the worker again, and answers 503.
    """
    try:
        yield
    except SystemExit as complaint:
        if not isinstance(complaint.code, str):
            raise
        print(complaint.code, file=sys.stderr, flush=True)
        raise SystemExit(os.EX_CONFIG) from None
