# SPDX-License-Identifier: BSD-3-Clause
"""What a browser sees: the demo's page, and WebSockets over ws://, wss:// and HTTP/2."""
import asyncio
import os

import pytest
from conftest import SAMPLES
from devtools import chromium

H2 = 'server.feature-flags += ( "server.h2proto" => "{}" )\n'

# Opens a WebSocket, sends a message, and resolves to all that was seen of it.
TALK = """(async (path, message, code) => {
    const socket = new WebSocket(location.origin.replace(/^http/, "ws") + path);
    socket.binaryType = "arraybuffer";
    const seen = { messages: [] };
    return await new Promise(done => {
        socket.onopen = () => {
            seen.open = true;
            if (message !== null)
                socket.send(typeof message == "string" ? message : new Uint8Array(message));
        };
        socket.onmessage = event => {
            seen.messages.push(typeof event.data == "string" ? event.data
                                                             : [...new Uint8Array(event.data)]);
            if (code) socket.close(code);
        };
        socket.onclose = event => done({ ...seen, code: event.code, reason: event.reason,
                                         clean: event.wasClean });
    });
})"""


def browse(tmp_path, talk, *flags):
    async def run():
        async with chromium(tmp_path, *flags) as page:
            return await talk(page)
    return asyncio.run(asyncio.wait_for(run(), 110))


def lines(page, id_):
    return page.evaluate(f"document.getElementById('{id_}').innerText.trim().split('\\n')")


def test_the_demo_page(make_lighttpd, tmp_path):
    """SCREENSHOT in the environment names a file to keep a picture in."""
    config = (SAMPLES.parent / "demo" / "lighttpd.conf").read_text()
    config = "".join(line + "\n" for line in config.splitlines()
                     if not line.startswith(("server.bind", "server.port", "server.modules",
                                             "server.document-root")))
    server = make_lighttpd(f'server.modules += ( "mod_fd_transfer", "mod_wscgi" )\n{config}',
                           environment={"SAMPLES": str(SAMPLES.parent)})
    server.root.rmdir()
    server.root.symlink_to(SAMPLES.parent / "demo")
    server.start()

    async def talk(page):
        await page.open(server.url("/"))
        await page.wait_until("document.getElementById('count').innerText.includes('3')")
        assert (await lines(page, "count"))[:4] == ["(open)", "1", "2", "3"]
        await page.wait_until("document.getElementById('hot').innerText.includes('Hello from worker')")
        await page.evaluate("document.getElementById('say').focus()")
        await page.call("Input.insertText", text="hello äb€c")
        for kind in ("keyDown", "keyUp"):
            await page.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter",
                            windowsVirtualKeyCode=13)
        await page.wait_until("document.getElementById('echo').innerText.includes('hello äb€c')")
        await page.evaluate("document.getElementById('ask').click()")
        await page.wait_until("document.getElementById('hot').innerText.split('Hello').length > 2")
        if picture := os.environ.get("SCREENSHOT"):
            await page.screenshot(picture)
        assert [problem for problem in page.problems
                if "favicon" not in str(problem)] == []
    browse(tmp_path, talk)


@pytest.mark.parametrize("transport", ["ws", "wss-http/1.1", "wss-h2"])
def test_websockets(serve, program, tls, tmp_path, transport):
    server = serve({
        "/text": {"bin-path": "/bin/cat"},
        "/binary": {"bin-path": "/bin/cat", "message-type": "binary"},
        "/frames": {"bin-path": str(SAMPLES / "ws_echo.py"), "framing": "websocket"},
        "/good": {"bin-path": program("good", "#!/bin/sh\necho hello\n")},
        "/bad": {"bin-path": program("bad", "#!/bin/sh\necho hello\nexit 3\n")},
        "/mapped": {"bin-path": program("bad", "#!/bin/sh\necho hello\nexit 3\n"),
                    "close-codes": {"0": 4000, "3": 4003}},
        "/mapped-shared": {"bin-path": program("told", "#!/bin/sh\nread line\nexit 0\n"),
                           "model": "shared", "close-codes": {"0": 3999}},
        "/chosen": {"bin-path": program("chosen", "#!/bin/sh\nprintf 'C\\0\\0\\0\\5\\17\\241bye'\n"),
                    "framing": "length"},
        "/where": {"bin-path": program("where", "#!/bin/sh\necho $HTTPS $HTTP_ORIGIN\n")},
    }, H2.format("enable" if transport == "wss-h2" else "disable") + tls.config
        + 'mimetype.assign = ( ".html" => "text/html" )\n')
    (server.root / "index.html").write_text("<title>test</title>")
    address = server.url("/index.html") if transport == "ws" else tls.url("/index.html", "https")

    async def talk(page):
        await page.open(address)
        if transport == "wss-h2":
            assert ("h2", 200) == [(protocol, status) for url, status, protocol in page.responses
                                   if url == address][0]
        for path, message, code, expected in [
                ("/text", "hello äb€c", 1000, "hello äb€c"),
                ("/text", "x" * 70000, 4321, "x" * 70000),
                ("/binary", [0, 255, 128], 1000, [0, 255, 128]),
                ("/frames", "hello", 1000, "hello")]:
            seen = await page.evaluate(f"{TALK}({path!r}, {message!r}, {code})")
            assert seen == {"open": True, "messages": [expected], "code": code, "reason": "",
                            "clean": True}
        seen = await page.evaluate(f"{TALK}('/good', null, 0)")
        assert (seen["messages"], seen["code"], seen["clean"]) == (["hello"], 1000, True)
        seen = await page.evaluate(f"{TALK}('/bad', null, 0)")
        assert (seen["messages"], seen["code"], seen["clean"]) == (["hello"], 1011, True)
        assert seen["reason"] == "program exited with status 3"
        for path, message, expected in [
                ("/mapped", "null", (["hello"], 4003, "program exited with status 3", True)),
                ("/mapped-shared", "'go'", ([], 3999, "program exited with status 0", True)),
                ("/chosen", "null", ([], 4001, "bye", True))]:
            seen = await page.evaluate(f"{TALK}({path!r}, {message}, 0)")
            assert (seen["messages"], seen["code"], seen["reason"], seen["clean"]) == expected
        seen = await page.evaluate(f"{TALK}('/where', null, 0)")
        assert seen["messages"][0].split()[-1] == address.removesuffix("/index.html")
        seen = await page.evaluate(f"{TALK}('/nothing', null, 0)")
        assert (seen["code"], seen["clean"]) == (1006, False)
    browse(tmp_path, talk, "--ignore-certificate-errors")
    server.wait_until(lambda: not server.children(), "the programs to end")
