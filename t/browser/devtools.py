# SPDX-License-Identifier: BSD-3-Clause
"""A headless Chromium, driven through its DevTools protocol (JSON over a WebSocket)."""
import asyncio
import base64
import contextlib
import itertools
import json
import os
import pathlib
import signal
import subprocess
import urllib.request

import websockets

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-dev-shm-usage", "--remote-debugging-port=0", "--window-size=1000,700"]
TIMEOUT = 60  # seconds, for Chromium to start and for anything that is awaited


class Page:
    """One page. What it logs and the requests it makes are kept."""

    def __init__(self, socket):
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers = {}
        self.problems = []   # errors and warnings of the console, uncaught exceptions
        self.responses = []  # (URL, status, protocol)

    async def call(self, method, **parameters):
        number = next(self._numbers)
        self._answers[number] = answer = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        result = await asyncio.wait_for(answer, TIMEOUT)
        assert "error" not in result, f"{method}: {result['error']}"
        return result["result"]

    async def evaluate(self, expression):
        """The value of a JavaScript expression; a promise is awaited."""
        result = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True,
                                 returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def wait_until(self, expression):
        """Waits until the JavaScript expression is true."""
        await asyncio.wait_for(self.evaluate(
            "new Promise(done => { const look = () => (" + expression + ") ? done(true) "
            ": setTimeout(look, 20); look() })"), TIMEOUT)

    async def open(self, url):
        await self.call("Page.navigate", url=url)
        await self.wait_until(f"location.href.startsWith({json.dumps(url)}) "
                              "&& document.readyState == 'complete'")

    async def screenshot(self, path):
        picture = await self.call("Page.captureScreenshot", format="png")
        pathlib.Path(path).write_bytes(base64.b64decode(picture["data"]))

    async def _listen(self):
        async for text in self._socket:
            message = json.loads(text)
            if "id" in message:
                self._answers.pop(message["id"]).set_result(message)
            else:
                self._take(message["method"], message["params"])

    def _take(self, method, parameters):
        if method == "Runtime.exceptionThrown":
            self.problems.append(parameters["exceptionDetails"])
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.problems.append(parameters["entry"])
        elif method == "Network.responseReceived":
            response = parameters["response"]
            self.responses.append((response["url"], response["status"], response["protocol"]))


@contextlib.asynccontextmanager
async def chromium(directory, *flags):
    """A page of a fresh Chromium whose profile is in `directory`."""
    with open(directory / "chromium.log", "wb") as log:
        process = subprocess.Popen(
            ["chromium", *FLAGS, *flags, f"--user-data-dir={directory / 'profile'}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "HOME": str(directory)})
    try:
        port = await _port(directory / "profile" / "DevToolsActivePort", process)
        async with websockets.connect(_page_address(port), max_size=None,
                                      ping_interval=None) as socket:
            page = Page(socket)
            listening = asyncio.create_task(page._listen())
            for domain in ("Page", "Runtime", "Log", "Network"):
                await page.call(f"{domain}.enable")
            yield page
            listening.cancel()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


async def _port(file, process):
    for _ in range(TIMEOUT * 20):
        if file.exists() and (lines := file.read_text().splitlines()):
            return int(lines[0])
        assert process.poll() is None, "chromium did not start; see chromium.log"
        await asyncio.sleep(0.05)
    raise AssertionError("chromium opened no DevTools port; see chromium.log")


def _page_address(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=TIMEOUT) as answer:
        return next(page["webSocketDebuggerUrl"] for page in json.load(answer)
                    if page["type"] == "page")
