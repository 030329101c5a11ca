# SPDX-License-Identifier: BSD-3-Clause
"""What the record tells a worker of the client: from lighttpd, not from what the client writes."""
import base64
import json
import socket
import struct

import pytest

from lighttpd import free_port
from service import HERE, get, read_response, service

NAMES = {"1": "address", "2": "port", "3": "scheme", "4": "user", "5": "limit"}


@pytest.fixture
def start_telling(start, stage):
    def begin(config="", modules=(), **options):
        return start(config + service(bin_path=str(HERE / "client_worker.py"), stage=stage, **options),
                     modules=modules)
    return begin


def told(sock, *headers, path="/hot/", before=b""):
    sock.sendall(before + get(path, *headers))
    status, _, body = read_response(sock)
    assert status == 200
    seen = {NAMES[kind]: bytes.fromhex(value) for kind, value in json.loads(body).items()}
    if "port" in seen:
        seen["port"], = struct.unpack("<H", seen["port"])
    return {name: value.decode() if isinstance(value, bytes) and name != "limit" else value
            for name, value in seen.items()}


def test_address_and_port_are_those_of_the_connection(start_telling):
    server = start_telling()
    with server.connect() as sock:
        seen = told(sock, "X-Forwarded-For: 203.0.113.1", "Forwarded: for=203.0.113.1",
                    "X-Real-IP: 203.0.113.1", "REMOTE_USER: admin")
        assert seen == {"address": "127.0.0.1", "port": sock.getsockname()[1], "scheme": "http"}


def test_of_a_client_on_a_unix_socket_no_address_is_told(start_telling, tmp_path):
    path = tmp_path / "u"
    server = start_telling(f'$SERVER["socket"] == "{path}" {{ }}\n')
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(path))
        assert told(sock) == {"scheme": "http"}
    assert server.process.poll() is None


def test_behind_a_trusted_proxy(start_telling, stage):
    """mod_extforward runs before the stage uri, and not before raw."""
    server = start_telling('extforward.forwarder = ( "127.0.0.1" => "trust" )\n'
                           'extforward.headers = ( "X-Forwarded-For" )\n',
                           modules=["mod_extforward"])
    with server.connect() as sock:
        seen = told(sock, "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https")
    if stage == "uri":
        assert seen == {"address": "192.0.2.7", "scheme": "https"}  # its port is not known
    else:
        assert seen["address"] == "127.0.0.1" and seen["scheme"] == "http"


@pytest.mark.parametrize("line, address", [
    (b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n", "192.0.2.7"),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 80\r\n", "2001:db8::7")])
def test_behind_a_proxy_that_speaks_the_proxy_protocol(start_telling, line, address):
    port = free_port()
    start_telling('extforward.forwarder = ( "127.0.0.1" => "trust" )\n'
                  f'$SERVER["socket"] == "127.0.0.1:{port}" {{ extforward.hap-PROXY = "enable" }}\n',
                  modules=["mod_extforward"])
    with socket.create_connection(("127.0.0.1", port), 20) as sock:
        seen = told(sock, before=line)
    assert (seen["address"], seen["port"]) == (address, 4711)


def test_whom_lighttpd_has_authenticated(start_telling, stage, tmp_path):
    users = tmp_path / "users"
    users.write_text("jo:secret\n")
    server = start_telling(f'auth.backend = "plain"\nauth.backend.plain.userfile = "{users}"\n'
                           'auth.require = ( "/hot/" => ( "method" => "basic", "realm" => "r", '
                           '"require" => "valid-user" ) )\n', modules=["mod_auth", "mod_authn_file"])
    secret = base64.b64encode(b"jo:secret").decode()
    with server.connect() as sock:
        seen = told(sock, f"Authorization: Basic {secret}", "X-Remote-User: admin")
    assert seen.get("user") == ("jo" if stage == "uri" else None)


def test_how_long_a_body_may_be(start_telling):
    server = start_telling("server.max-request-size = 12\n")  # KiB
    with server.connect() as sock:
        assert struct.unpack("<Q", told(sock)["limit"]) == (12 * 1024,)


def test_a_user_too_long_for_the_record_is_left_out(start_telling, stage, tmp_path):
    """The request is handed over all the same."""
    name = "j" * 4090
    users = tmp_path / "users"
    users.write_text(f"{name}:x\n")
    server = start_telling(f'auth.backend = "plain"\nauth.backend.plain.userfile = "{users}"\n'
                           'auth.require = ( "/hot/" => ( "method" => "basic", "realm" => "r", '
                           '"require" => "valid-user" ) )\n', modules=["mod_auth", "mod_authn_file"])
    secret = base64.b64encode(f"{name}:x".encode()).decode()
    with server.connect() as sock:
        sock.sendall(get("/hot/", f"Authorization: Basic {secret}"))
        assert read_response(sock)[0] in (200, 401)  # lighttpd has limits of its own
