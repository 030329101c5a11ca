# SPDX-License-Identifier: BSD-3-Clause
"""server.max-worker = 2: every model works in each worker, and no process outlives the server."""
import asyncio
import os
import pathlib
import signal

import processes
import pytest
import websockets

DAEMON = str(pathlib.Path(__file__).parent / "programs" / "echo_daemon.py")
ENDPOINTS = {
    "/session": {"bin-path": "/bin/cat", "grace": 1},
    "/shared": {"bin-path": "/bin/cat", "model": "shared", "grace": 1},
    "/daemon": {"model": "daemon", "bin-path": DAEMON, "framing": "length", "max-procs": 2},
}
CLIENTS = 12  # of each model: some for each worker


async def echoes(server, path, number):
    """An open session that has echoed its own message (model shared: among those of others)."""
    client = await websockets.connect(server.url(path, "ws"))
    await echo(client, f"{path} {number}")
    return client


async def echo(client, message):
    await client.send(message)
    while await client.recv() != message:
        pass


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 1006), (signal.SIGINT, 1001)],
                         ids=["term", "int"])
@pytest.mark.parametrize("path", ENDPOINTS)
def test_two_workers_echo_and_leave_nothing(serve, path, number, code):
    server = serve({path: ENDPOINTS[path]}, "server.max-worker = 2\n")

    async def talk():
        clients = await asyncio.gather(*(echoes(server, path, n) for n in range(CLIENTS)))
        await asyncio.gather(*(echo(client, f"again {n}") for n, client in enumerate(clients)))
        below = server.children()
        parents = {processes.parent(pid) for pid in below} - {server.pid}
        stopping = asyncio.get_running_loop().run_in_executor(None, server.stop, number)
        await asyncio.gather(*(client.wait_closed() for client in clients))
        await stopping
        return below, parents, {client.close_code for client in clients}
    below, parents, codes = asyncio.run(asyncio.wait_for(talk(), 60))
    # Programs are below workers. Which worker accepts is the kernel's choice, but daemons are there
    # from the start.
    assert len(below) > 2 and len(parents) >= (2 if path == "/daemon" else 1)
    assert codes == {code}
    assert not any(os.path.exists(f"/proc/{pid}") for pid in below)
