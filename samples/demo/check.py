#!/usr/bin/python3
"""Is a client of the demo, as a visitor would be, and fails if anything is not as promised.

Usage: check.py PORT
"""
import asyncio
import sys
import urllib.request

import websockets


async def talk(port):
    server = f"ws://127.0.0.1:{port}"
    async with websockets.connect(f"{server}/count") as client:
        assert await client.recv() == "1", "/count does not begin with 1"
    for path in ("/echo", "/ws"):
        async with websockets.connect(server + path) as client:
            await client.send("hello")
            assert await client.recv() == "hello", f"{path} is no echo"


def main():
    port = int(sys.argv[1])
    for path, text in (("/", "lighttpd hands this client over"), ("/hot/", "Hello from worker")):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
            assert text in response.read().decode(), f"{path} does not say {text!r}"
    asyncio.run(asyncio.wait_for(talk(port), 30))


if __name__ == "__main__":
    main()
