# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of mod_fd_transfer share: configurations, and requests byte by byte."""
import json
import pathlib
import re
import socket

import processes

HERE = pathlib.Path(__file__).parent
REPORT = HERE / "report_worker.py"


def option(value):
    if isinstance(value, (list, tuple)):
        return "( " + ", ".join(map(option, value)) + " )"
    if isinstance(value, dict):
        return "( " + ", ".join(f'"{k}" => {option(v)}' for k, v in value.items()) + " )"
    return str(value) if isinstance(value, int) else f'"{value}"'


def services(entries):
    """The directive: {"/hot/": {"bin-path": ..., "workers": 2}}."""
    return f"fd-transfer.server = {option(entries)}\n"


def service(prefix="/hot/", **options):
    """One service; `bin_path=` becomes "bin-path". Unless it is at a socket, its worker reports, and
    has a short grace: tests end."""
    options = {name.replace("_", "-"): value for name, value in options.items()}
    if "socket" not in options:
        options.setdefault("bin-path", str(REPORT))
        options.setdefault("grace", 1)
    return services({prefix: options})


def read_response(sock):
    """One response from a socket: (status, head, body). Reads no more than its Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            raise EOFError(f"connection closed after {data!r}")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    if 100 <= status < 200:
        raise AssertionError(f"interim response {head!r}")
    length = re.search(rb"\r\nContent-Length: *(\d+)", head, re.I)
    while length and len(body) < int(length[1]):
        more = sock.recv(65536)
        if not more:
            raise EOFError(f"body ended after {len(body)} of {int(length[1])} bytes")
        body += more
    return status, head.decode("latin-1"), body


def request(server, data, shutdown=False):
    """Sends bytes on a new connection; the response, as read_response() gives it."""
    with server.connect() as sock:
        sock.sendall(data)
        if shutdown:
            sock.shutdown(socket.SHUT_WR)
        return read_response(sock)


def report(response):
    status, head, body = response
    assert status == 200, (head, body)
    return json.loads(body)


def get(path, *fields, version="HTTP/1.1"):
    lines = [f"GET {path} {version}", "Host: test", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def fuller(mode, **options):
    """Options for workers that speak the fuller protocol."""
    return {"bin_path": f"{HERE / 'fuller_worker.py'} {mode}", **options}


STATUS = 'status.statistics-url = "/counters"\n'  # for counters(); needs mod_status


def counters(server, prefix="/hot/"):
    """The module's counters for a service, by name."""
    status, _, body = request(server, get("/counters"))
    assert status == 200
    start = f"fd-transfer.{prefix}."
    rows = (row.partition(": ") for row in body.decode().splitlines())
    return {key.removeprefix(start): int(value) for key, _, value in rows if key.startswith(start)}


def wait_for_counter(server, name, value, timeout=15):
    """Waits until a counter has at least this value; all counters."""
    return server.wait_until(lambda: (now := counters(server))[name] >= value and now,
                             f"{name} >= {value}", timeout)


def workers(program="fuller_worker"):
    """Pids of the workers. They descend from the supervisor, which is nobody's child but ours."""
    return [pid for orphan in processes.orphans() for pid in processes.descendants(orphan)
            if program in processes.command(pid)]
