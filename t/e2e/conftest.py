# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures for all end-to-end tests: a real lighttpd, with real clients."""
import contextlib
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import lighttpd as server  # noqa: E402
import processes  # noqa: E402

processes.adopt_orphans()


def pytest_addoption(parser):
    parser.addoption("--all-lengths", action="store_true",
                     help="messages of every length in every framing over HTTP/2: five minutes more")


def pytest_configure(config):
    config.addinivalue_line("markers", "raw: needs a server with our patches (stage `raw`)")


def pytest_runtest_setup(item):
    if item.get_closest_marker("raw") and not server.has_raw():
        pytest.skip("stock server has no raw stage")


@pytest.fixture
def make_lighttpd(tmp_path):
    """make_lighttpd(config, modules=[...]): a server, not started; stopped and checked at the end
    of the test if the test has not done so."""
    made = []

    def make(config="", **options):
        directory = tmp_path / (f"server{len(made)}" if made else "server")
        made.append(server.Lighttpd(directory, config, **options))
        return made[-1]

    with contextlib.ExitStack() as stack:
        stack.callback(lambda: [stack.callback(one.stop) for one in made])
        yield make


@pytest.fixture
def start_lighttpd(make_lighttpd):
    """start_lighttpd(config, modules=[...]): a server that accepts connections."""
    return lambda *arguments, **options: make_lighttpd(*arguments, **options).start()


@pytest.fixture
def stages():
    """The stages of mod_fd_transfer that this server has."""
    return ("uri", "raw") if server.has_raw() else ("uri",)
