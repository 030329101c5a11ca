# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures for tests of mod_wscgi: programs written on the spot, and endpoints to reach them."""
import pathlib
import stat

import pytest

SAMPLES = pathlib.Path(__file__).parents[3] / "samples" / "wscgi"


def option(value):
    """A value in lighttpd.conf's syntax."""
    if isinstance(value, (list, tuple)):
        return "( " + ", ".join(option(one) for one in value) + " )"
    if isinstance(value, dict):
        return "( " + ", ".join(f'"{k}" => {option(v)}' for k, v in value.items()) + " )"
    return str(value) if isinstance(value, int) else f'"{value}"'


def server_directive(endpoints):
    return f"wscgi.server = {option(endpoints)}\n"


@pytest.fixture
def program(tmp_path):
    """program("name", text): an executable file; its path."""
    def write(name, text):
        path = tmp_path / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)
    return write


@pytest.fixture
def serve(start_lighttpd):
    """serve({"/url": {"bin-path": ...}}): a server with these endpoints."""
    def start(endpoints, config=""):
        return start_lighttpd(server_directive(endpoints) + config, modules=["mod_wscgi"])
    return start
