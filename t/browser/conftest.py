# SPDX-License-Identifier: BSD-3-Clause
"""The browser tests use the end-to-end tests' server, endpoints and TLS."""
import importlib.util
import pathlib
import sys

E2E = pathlib.Path(__file__).parents[1] / "e2e"
sys.path.insert(0, str(E2E))


def _load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_e2e = _load("e2e_fixtures", E2E / "conftest.py")
_wscgi = _load("wscgi_fixtures", E2E / "wscgi" / "conftest.py")
make_lighttpd, start_lighttpd = _e2e.make_lighttpd, _e2e.start_lighttpd
program, serve, tls, SAMPLES = _wscgi.program, _wscgi.serve, _wscgi.tls, _wscgi.SAMPLES
