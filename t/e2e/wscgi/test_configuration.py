# SPDX-License-Identifier: BSD-3-Clause
"""Options that mean nothing for the chosen model or framing are mistakes, found at start."""
import pytest
from conftest import option, server_directive

CAT = {"bin-path": "/bin/cat"}
SHARED = {**CAT, "model": "shared"}
SPAWNED = {**CAT, "model": "daemon"}
REMOTE = {"model": "daemon", "socket": "/run/feed.sock"}
FRAMES = {**CAT, "framing": "websocket"}

WITHOUT_EFFECT = [
    (CAT, {"linger": 1}, "shared"), (SPAWNED, {"linger": 1}, "shared"),
    (CAT, {"slow": "skip"}, "shared"), (SPAWNED, {"slow": "drop"}, "shared"),
    (CAT, {"max-procs": 2}, "daemons that lighttpd starts"),
    (SHARED, {"max-procs": 2}, "daemons that lighttpd starts"),
    (REMOTE, {"max-procs": 2}, "daemons that lighttpd starts"),
    (CAT, {"connect-timeout": 1}, "daemons"), (SHARED, {"retry-interval": 1}, "daemons"),
    (REMOTE, {"arguments": "x"}, "bin-path"), (REMOTE, {"bin-environment": {"A": "b"}}, "bin-path"),
    (REMOTE, {"bin-copy-environment": "HOME"}, "bin-path"),
    (REMOTE, {"working-directory": "/tmp"}, "bin-path"),
    (REMOTE, {"limits": {"cpu": 1}}, "bin-path"),
    (REMOTE, {"port": 9000}, "host"),
    (FRAMES, {"subprotocols": "a"}, "websocket"), (FRAMES, {"deflate": "enable"}, "websocket"),
    (FRAMES, {"max-message": 9}, "websocket"), (FRAMES, {"message-rate": 9}, "websocket"),
    (FRAMES, {"message-burst": 9}, "websocket"), (FRAMES, {"ping-interval": 9}, "websocket"),
    (FRAMES, {"pong-timeout": 9}, "websocket"), (FRAMES, {"message-type": "text"}, "lines"),
    (FRAMES, {"headers": "disable"}, "handshake"), (FRAMES, {"close-codes": {"1": 4001}}, "status"),
    ({**CAT, "framing": "length"}, {"message-type": "text"}, "lines"),
    (CAT, {"handshake-timeout": 1}, "headers"), (SHARED, {"handshake-timeout": 1}, "headers"),
    (SPAWNED, {"close-codes": {"1": 4001}}, "status"),
    (CAT, {"scgi": "enable"}, "daemons"), (SHARED, {"headers": "enable"}, "model"),
    (CAT, {"socket": "/tmp/x"}, "daemons"), (CAT, {"host": "127.0.0.1:1"}, "daemons"),
]


@pytest.mark.parametrize("endpoint, extra, word", WITHOUT_EFFECT,
                         ids=[f"{''.join(e.get('model', e.get('framing', 'session')))}-{[*x][0]}"
                              for e, x, _ in WITHOUT_EFFECT])
def test_an_option_without_effect_stops_the_server_at_start(make_lighttpd, endpoint, extra, word):
    good = make_lighttpd(server_directive({"/ws": endpoint}), modules=["mod_wscgi"])
    assert good.check_config().returncode == 0
    bad = make_lighttpd(server_directive({"/ws": {**endpoint, **extra}}), modules=["mod_wscgi"])
    checked = bad.check_config()
    assert checked.returncode != 0
    name = [*extra][0]
    (line,) = [line for line in checked.stderr.splitlines()
               if 'wscgi.server "/ws" "' in line and "unknown" not in line]
    what, _, remedy = line.partition(";")
    assert f'"{name}"' in what or (name == "host" and '"socket"' in what)
    assert word in line and remedy.strip()


@pytest.mark.parametrize("name, value", [
    ("model", "shared"), ("bin-path", "/bin/cat"), ("arguments", "x"), ("max-procs", 2),
    ("host", "127.0.0.1:1"), ("port", 1), ("socket", "/tmp/x"), ("linger", 1), ("slow", "skip"),
    ("scgi", "enable"), ("connect-timeout", 1), ("retry-interval", 1), ("no-such", 1)])
def test_options_of_assigned_files_are_checked_too(make_lighttpd, name, value):
    server = make_lighttpd('wscgi.assign = ( ".ws" => "" )\n'
                           f'wscgi.options = {option({name: value})}\n', modules=["mod_wscgi"])
    checked = server.check_config()
    assert checked.returncode != 0
    assert f'wscgi.options "{name}"' in checked.stderr


def test_what_applies_is_accepted(make_lighttpd):
    common = {"max-age": 1, "idle-timeout": 1, "grace": 1, "close-timeout": 1, "window": 5000,
              "max-sessions": 1, "max-per-address": 1, "origins": "*"}
    ours = {**common, "max-message": 9, "message-rate": 9, "ping-interval": 9, "pong-timeout": 9,
            "subprotocols": ["a"], "deflate": "enable"}
    program = {"bin-environment": {"A": "b"}, "working-directory": "/tmp", "limits": {"cpu": 9}}
    endpoints = {
        "/a": {**CAT, **ours, **program, "message-type": "text", "close-codes": {"1": 4001}},
        "/b": {**SHARED, **ours, **program, "linger": 1, "slow": "skip",
               "close-codes": {"1": 4001}},
        "/c": {**SPAWNED, **ours, **program, "max-procs": 2, "connect-timeout": 1,
               "retry-interval": 1, "scgi": "enable", "headers": "enable", "handshake-timeout": 1},
        "/d": {"model": "daemon", "host": ["127.0.0.1"], "port": 9, **ours, "framing": "length"},
        "/e": {**FRAMES, **common, **program, "handshake-timeout": 1, "headers": "enable"}}
    checked = make_lighttpd(server_directive(endpoints), modules=["mod_wscgi"]).check_config()
    assert checked.returncode == 0, checked.stderr


def test_max_worker_and_one_socket_for_all_is_refused(make_lighttpd, tmp_path):
    server = make_lighttpd(server_directive({"/ws": {**SPAWNED, "socket": str(tmp_path / "s")}}) +
                           "server.max-worker = 2\n", modules=["mod_wscgi"])
    checked = server.check_config()
    assert checked.returncode != 0
    for word in ('wscgi.server "/ws" "socket"', "server.max-worker", "leave"):
        assert word in checked.stderr
