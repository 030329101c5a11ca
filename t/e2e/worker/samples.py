# SPDX-License-Identifier: BSD-3-Clause
"""The samples under test, and what each of them can do."""
import pytest

from fronts import BUILT, SAMPLES

COMMANDS = {
    "hello.py": [SAMPLES / "hello.py"],
    "hello.pl": [SAMPLES / "hello.pl"],
    "epoll": [BUILT / "epoll_worker"],
    "beast": [BUILT / "beast_worker"],
    "lws": [BUILT / "lws_worker"],
    "echo": [BUILT / "echo_worker"],
    "blocking": [SAMPLES / "blocking_worker.py"],
    "asyncio": [SAMPLES / "asyncio_worker.py"],
    "starlette": ["/usr/bin/python3", "-m", "fdworker.asgi", "starlette_app:app"],
    "wsgi": ["/usr/bin/python3", "-m", "fdworker.wsgi", "wsgi_app:app"],
}
ANSWER = [name for name in COMMANDS if name != "echo"]  # ordinary requests
RETURN = ["hello.pl", "epoll", "beast", "blocking", "starlette", "wsgi"]  # give keep-alive connections back
UPLOAD = ["beast", "starlette", "wsgi"]
EVENTS = ["beast", "starlette"]
SLOW = {"beast": 100, "starlette": 100, "asyncio": 100, "blocking": 16, "wsgi": 8}  # how many at once
EXTERNAL = ["epoll", "beast", "lws", "echo", "starlette"]  # with --listen and --http
WEBSOCKET = ["beast", "starlette", "lws", "echo"]


def command(name):
    program = COMMANDS[name]
    if program[0].is_absolute() and not program[0].exists() if len(program) == 1 else False:
        pytest.skip(f"{program[0].name} was not built: its library was not found")
    return [str(part) for part in program]
