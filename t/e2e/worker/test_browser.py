# SPDX-License-Identifier: BSD-3-Clause
"""Chromium at every sample: pages, a POST, an EventSource, a WebSocket, over handed-off sockets."""
import asyncio
import pathlib
import sys

import pytest

import samples

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "browser"))

from devtools import chromium  # noqa: E402

PAGES = """(async () => {
    const texts = [];
    for (const path of ["/hot/now", "/nothing-here", "/hot/now"])
        texts.push((await fetch(path)).status);
    return texts;
})()"""

UPLOAD = """(async () => {
    const answer = await fetch("/hot/upload", { method: "POST", body: new Uint8Array(1000000) });
    return await answer.text();
})()"""

EVENTS = """new Promise(done => {
    const source = new EventSource("/hot/events?ms=10"), seen = [];
    source.onmessage = event => {
        seen.push(event.data);
        if (seen.length == 5) { source.close(); done(seen.length); }
    };
    source.onerror = () => done("error after " + seen.length);
})"""

ECHO = """new Promise(done => {
    const socket = new WebSocket(location.origin.replace("http", "ws") + "/hot/echo");
    const message = "\\u00e4".repeat(100000);
    let same = false;
    socket.onopen = () => socket.send(message);
    socket.onmessage = event => { same = event.data == message; socket.close(1000); };
    socket.onclose = event => done([same, event.code, event.wasClean]);
})"""


@pytest.mark.parametrize("sample", samples.COMMANDS)
def test_chromium(front, sample, tmp_path):
    one = front(sample)

    async def run():
        async with chromium(tmp_path) as page:
            await page.open(one.url("/nothing-here"))
            if sample in samples.ANSWER:
                assert await page.evaluate(PAGES) == [200, 404, 200]
            if sample in samples.UPLOAD:
                assert "1000000" in await page.evaluate(UPLOAD)
            if sample in samples.EVENTS:
                assert await page.evaluate(EVENTS) == 5
            if sample in samples.WEBSOCKET:
                assert await page.evaluate(ECHO) == [True, 1000, True]
    asyncio.run(asyncio.wait_for(run(), 100))
