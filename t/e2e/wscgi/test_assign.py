# SPDX-License-Identifier: BSD-3-Clause
"""wscgi.assign: programs found by the extension of the file that the URL names."""
import asyncio
import subprocess

import pytest
import websockets

CONFIG = """
wscgi.assign = ( ".ws" => "", ".wsh" => "/bin/sh" )
$HTTP["url"] =~ "^/stream/" { wscgi.options = ( "framing" => "stream", "message-type" => "text" ) }
"""


@pytest.fixture
def server(start_lighttpd):
    server = start_lighttpd(CONFIG, modules=["mod_wscgi"])
    for name, text in (("env.ws", "#!/bin/sh\npwd\nenv\n"), ("script.wsh", "pwd\necho $0\n"),
                       ("stream/two.ws", "#!/bin/sh\nprintf 'one\\ntwo'\n")):
        path = server.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return server


def messages(server, path):
    async def talk():
        async with websockets.connect(server.url(path, "ws")) as client:
            return [message async for message in client]
    return asyncio.run(talk())


def test_a_file_is_run_with_its_path_info(server):
    directory, *variables = messages(server, "/env.ws/more?query")
    assert directory == str(server.root)
    assert {"SCRIPT_NAME=/env.ws", "PATH_INFO=/more", "QUERY_STRING=query",
            f"SCRIPT_FILENAME={server.root}/env.ws"} <= set(variables)


def test_an_interpreter_gets_the_file_and_runs_beside_it(server):
    assert messages(server, "/script.wsh") == [str(server.root), f"{server.root}/script.wsh"]


def test_options_are_those_of_the_scope(server):
    assert "".join(messages(server, "/stream/two.ws")) == "one\ntwo"


def test_a_file_that_is_not_there_is_not_found(server):
    with pytest.raises(websockets.InvalidStatusCode) as refusal:
        messages(server, "/other.ws")
    assert refusal.value.status_code == 404


def test_the_source_is_never_sent(server):
    done = subprocess.run(["curl", "-s", "-D", "-", server.url("/env.ws")], capture_output=True,
                          text=True, check=True)
    assert done.stdout.startswith("HTTP/1.1 426") and "#!/bin/sh" not in done.stdout


def test_a_bad_option_stops_the_server(make_lighttpd):
    server = make_lighttpd('wscgi.options = ( "framing" => "x" )\n', modules=["mod_wscgi"])
    checked = server.check_config()
    assert checked.returncode != 0 and 'wscgi.options "framing": unknown value "x"' in checked.stderr
