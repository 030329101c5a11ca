# SPDX-License-Identifier: BSD-3-Clause
"""The table from exit statuses to close codes."""
import asyncio

import pytest
import websockets
from conftest import server_directive

CODES = {"0": 4000, "3": 4003, "7": 3007, "255": 1000}


async def ending(server, path="/ws"):
    client = await websockets.connect(server.url(path, "ws"))
    await client.send("go")
    await client.wait_closed()
    return client.close_code, client.close_reason


@pytest.mark.parametrize("model", ["session", "shared"])
def test_exit_statuses_are_mapped(serve, program, model):
    path = program("p", "#!/bin/sh\nread line\nexit $STATUS\n")
    expected = {0: (4000, "program exited with status 0"), 3: (4003, "program exited with status 3"),
                7: (3007, "program exited with status 7"), 255: (1000, ""),
                1: (1011, "program exited with status 1")}
    server = serve({f"/{status}": {"bin-path": path, "model": model, "close-codes": CODES,
                                   "bin-environment": {"STATUS": status}} for status in expected})
    for status, seen in expected.items():
        assert asyncio.run(ending(server, f"/{status}")) == seen
        server.wait_for(f"/{status} .*: closed with {seen[0]}")


def test_a_signal_is_no_exit_status(serve, program):
    path = program("p", "#!/bin/sh\nread line\nkill -9 $$\n")
    server = serve({"/ws": {"bin-path": path, "close-codes": {"9": 4009, "137": 4137}}})
    assert asyncio.run(ending(server)) == (1011, "program was killed by signal 9")


@pytest.mark.parametrize("table, words", [
    ({"256": 4000}, ["close-codes", '"256"', "0 to 255"]),
    ({"x": 4000}, ["close-codes", '"x"']),
    ({"1": 1005}, ["close-codes", '"1005"', "4000 to 4999"]),
    ({"1": 5000}, ["close-codes", '"5000"']),
    ({"1": "many"}, ["close-codes", '"many"']),
])
def test_a_wrong_table_stops_the_server_at_start(make_lighttpd, table, words):
    checked = make_lighttpd(server_directive({"/ws": {"bin-path": "/bin/cat", "close-codes": table}}),
                            modules=["mod_wscgi"]).check_config()
    assert checked.returncode != 0 and all(word in checked.stderr for word in words)
