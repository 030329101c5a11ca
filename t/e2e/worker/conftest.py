# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures for the tests of workers: every sample, behind every front."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import fronts  # noqa: E402
import samples  # noqa: E402

FRONTS = ["cat", "lighttpd-uri", pytest.param("lighttpd-raw", marks=pytest.mark.raw)]


@pytest.fixture(params=FRONTS)
def front(request, tmp_path, make_lighttpd):
    """front(sample): the sample's workers behind this front; stopped at the end of the test."""
    started = []

    def start(name, **options):
        command = samples.command(name)
        if request.param == "cat":
            one = fronts.Cat(tmp_path, command, **options)
        else:
            stage = request.param.partition("-")[2]
            one = fronts.Lighttpd(make_lighttpd, stage, command, **options)
        started.append(one)
        return one

    yield start
    for one in started:
        one.stop()
