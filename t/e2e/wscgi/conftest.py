# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures for tests of mod_wscgi: programs written on the spot, and endpoints to reach them."""
import pathlib
import ssl
import stat
import subprocess
import types

import pytest
from lighttpd import free_port

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


@pytest.fixture
def tls(tmp_path):
    """tls.config: what makes the server speak TLS at tls.port too, with a self-signed certificate;
    tls.context(alpn): for a client that trusts it; tls.url(path, scheme)."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                    "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                    "-keyout", key, "-out", certificate], check=True, capture_output=True)

    def context(*protocols):
        made = ssl.create_default_context(cafile=certificate)
        made.set_alpn_protocols(protocols)
        return made
    port = free_port()
    config = (f'server.modules += ( "mod_openssl" )\n$SERVER["socket"] == "127.0.0.1:{port}" {{\n'
              f'ssl.engine = "enable"\nssl.pemfile = "{certificate}"\n'
              f'ssl.privkey = "{key}"\n}}\n')
    return types.SimpleNamespace(config=config, context=context, port=port,
                                 url=lambda path, scheme: f"{scheme}://127.0.0.1:{port}{path}")
