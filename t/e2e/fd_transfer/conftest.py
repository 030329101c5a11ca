# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures for the tests of mod_fd_transfer."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import lighttpd  # noqa: E402
import service  # noqa: E402

STAGES = [pytest.param("raw", marks=pytest.mark.raw), "uri"]


@pytest.fixture(params=STAGES)
def stage(request):
    """Each test with this fixture runs at every stage."""
    return request.param


@pytest.fixture
def start(start_lighttpd):
    """start(config): a server with mod_fd_transfer."""
    def begin(config=None, modules=(), **options):
        return start_lighttpd(config or service.service(),
                              modules=[*modules, "mod_fd_transfer"], **options)
    return begin


@pytest.fixture
def make(make_lighttpd):
    def prepare(config, modules=(), **options):
        return make_lighttpd(config, modules=[*modules, "mod_fd_transfer"], **options)
    return prepare


@pytest.fixture
def patched():
    return lighttpd.has_raw()
