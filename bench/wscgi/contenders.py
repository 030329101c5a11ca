# SPDX-License-Identifier: BSD-3-Clause
"""Who is compared, and how each is started. To add one, add it to CONTENDERS.

A contender serves up to three targets, each with a program or daemon of its own:
echo    C++: sends back what it gets
python  the same in Python
flood   writes without end
"""
import dataclasses
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
START_TIMEOUT = 15  # seconds
PYTHON_WORKERS = 16  # of the prefork daemon: as many as sessions are opened at a time


class NotAvailable(Exception):
    """The contender cannot be had here; the text says why."""


@dataclasses.dataclass(frozen=True)
class Target:
    port: int
    path: str
    server: int  # pid of the server, without the program


class Running:
    """A contender that runs: its targets by name, and the processes that were started for it."""

    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="bench-wscgi-"))
        self.targets = {}
        self.roots = []  # Popen

    def start(self, command, **options):
        with open(self.directory / "output.log", "ab") as output:
            # Of its own session, as daemons are: the kernel may share CPUs among sessions.
            options = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output,
                       "start_new_session": True, **options}
            process = subprocess.Popen([str(part) for part in command], **options)
        self.roots.append(process)
        return process

    def start_on_own_port(self, command):
        """Starts a server that prints the port it has chosen."""
        process = self.start(command, stdout=subprocess.PIPE)
        with process.stdout:
            port = process.stdout.readline()
        if not port:
            raise NotAvailable(f"{command[0]} ended at once: {self.output()}")
        return int(port), process.pid

    def start_daemon(self, command):
        """Starts a daemon with the path it is to listen at. The path."""
        path = self.directory / f"{pathlib.Path(command[0]).name}.socket"
        process = self.start([command[0], path, *command[1:]])
        self.wait_until(lambda: accepts(socket.AF_UNIX, str(path)), process)
        return path

    def wait_until(self, condition, process):
        deadline = time.monotonic() + START_TIMEOUT
        while not condition():
            if process.poll() is not None or time.monotonic() > deadline:
                raise NotAvailable(f"{process.args[0]} does not start: {self.output()}")
            time.sleep(0.01)

    def output(self):
        logs = [self.directory / name for name in ("output.log", "error.log")]
        text = "".join(log.read_text(errors="replace") for log in logs if log.exists())
        return text.strip() or "it says nothing"

    def pids(self):
        return [process.pid for process in self.roots]

    def stop(self):
        for process in self.roots:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.roots:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def accepts(family, address):
    with socket.socket(family) as probe:
        return probe.connect_ex(address) == 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Contender:
    """`stream`: the program sees bytes, and messages are not kept apart. `text`: messages must be
    text. `stalls`: (size, depth) of messages from which on it is known to stall. `refuses`: a
    function that is true for sizes of messages that it is known to close the connection for."""
    targets = ("echo", "python", "flood")
    stream = False
    text = False
    deflate = False
    programs = None  # a function: directory -> the programs started for each session, by target

    def __init__(self, name, stalls=(), refuses=lambda size: False):
        self.name = name
        self.stalls = stalls
        self.refuses = refuses

    def known_failure(self, size, depth):
        if any(size >= least and depth >= deep for least, deep in self.stalls):
            return "left out: known to stall"
        if self.refuses(size):
            return "left out: known to close with 1002"
        return ""

    def start(self, build, directory):
        running = Running()
        try:
            self.run(running, build, directory)
        except BaseException:
            running.stop()
            raise
        return running

    def run(self, running, build, directory):
        raise NotImplementedError


class InProcess(Contender):
    targets = ("echo",)

    def run(self, running, build, directory):
        port, pid = running.start_on_own_port([directory / "inprocess"])
        running.targets["echo"] = Target(port, "/", pid)


class UWebSockets(Contender):
    targets = ("echo",)

    def run(self, running, build, directory):
        if not shutil.which("bun"):
            raise NotAvailable("bun is not installed (npm install --global bun)")
        port, pid = running.start_on_own_port(["bun", HERE / "uwebsockets.js"])
        running.targets["echo"] = Target(port, "/", pid)


def start_daemons(running, directory):
    """The daemons behind those who relay to one: target -> path of its socket."""
    return {"echo": running.start_daemon([directory / "echo_daemon"]),
            "python": running.start_daemon([HERE / "prefork_daemon.py", PYTHON_WORKERS]),
            "flood": running.start_daemon([directory / "flood"])}


class Floor(Contender):
    stream = True

    def run(self, running, build, directory):
        for target, path in start_daemons(running, directory).items():
            port, pid = running.start_on_own_port([directory / "floor", path])
            running.targets[target] = Target(port, "/", pid)


def line_programs(directory):
    return {"echo": directory / "echo_stdio", "python": HERE / "echo_stdio.py",
            "flood": directory / "flood"}


def frame_programs(directory):
    return {"echo": directory / "ws_echo_stdio",
            "python": HERE.parent.parent / "samples/wscgi/ws_echo.py"}


class Websocketd(Contender):
    text = True
    programs = staticmethod(line_programs)

    def run(self, running, build, directory):
        if not shutil.which("websocketd"):
            raise NotAvailable("websocketd is not installed (tools/install-packages bench)")
        for target, program in self.programs(directory).items():
            port = free_port()
            process = running.start(["websocketd", "--address=127.0.0.1", f"--port={port}",
                                     "--loglevel=error", program])
            running.wait_until(lambda: accepts(socket.AF_INET, ("127.0.0.1", port)), process)
            running.targets[target] = Target(port, "/", process.pid)


CONFIG = """\
server.document-root = "{root}"
server.bind = "127.0.0.1"
server.port = {port}
server.errorlog = "{errorlog}"
server.max-fds = 16384
server.max-connections = 8192
server.modules = ( "{module}" )
"""


def table(name, entries):
    """A directive whose value is a table: { "/echo": 'text of its value' }."""
    return f"{name} = ( " + ", ".join(f'"{key}" => {value}' for key, value in entries.items()) + " )\n"


class Lighttpd(Contender):
    """A lighttpd with a module of its own build, or of Debian's packages."""
    module = ""
    debian = False

    def configure(self, running, directory):
        """The module's directives, for the targets /echo, /python and /flood."""
        raise NotImplementedError

    def run(self, running, build, directory):
        binary, modules = debian_lighttpd(directory) if self.debian else built_lighttpd(build)
        port = free_port()
        (running.directory / "htdocs").mkdir()
        config = running.directory / "lighttpd.conf"
        config.write_text(CONFIG.format(root=running.directory / "htdocs", port=port,
                                        errorlog=running.directory / "error.log",
                                        module=self.module)
                          + self.configure(running, directory))
        process = running.start([binary, "-D", "-f", config, "-m", modules])
        running.wait_until(lambda: answers(port), process)
        for target in self.targets:
            running.targets[target] = Target(port, f"/{target}", process.pid)


def answers(port):
    """True once lighttpd runs its event loop; it listens earlier than that."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as probe:
            probe.sendall(b"OPTIONS * HTTP/1.0\r\n\r\n")
            return bool(probe.recv(1))
    except OSError:
        return False


def built_lighttpd(build):
    found = sorted(build.glob("subprojects/lighttpd-*/src/lighttpd"))
    if not found:
        raise NotAvailable(f"no lighttpd in {build}: meson compile -C {build}")
    return found[-1], build / "modules"


def debian_lighttpd(directory):
    """Debian's own package, unpacked into the build directory."""
    root = directory / "debian"
    binary = root / "usr/sbin/lighttpd"
    if not binary.exists():
        packages = (HERE.parent.parent / "subprojects/packagecache/debian").glob("lighttpd_*.deb")
        for package in packages:
            subprocess.run(["dpkg", "-x", package, root], check=True)
    if not binary.exists():
        raise NotAvailable("Debian's package is not there: tools/fetch-lighttpd debian")
    return binary, root / "usr/lib/lighttpd"


class Wstunnel(Lighttpd):
    module = "mod_wstunnel"
    stream = True

    def configure(self, running, directory):
        return 'wstunnel.frame-type = "binary"\n' + table("wstunnel.server", {
            f"/{target}": f'(( "socket" => "{path}" ))'
            for target, path in start_daemons(running, directory).items()})


class DebianWstunnel(Wstunnel):
    debian = True


class CgiUpgrade(Lighttpd):
    programs = staticmethod(frame_programs)
    module = "mod_cgi"
    targets = ("echo", "python")

    def configure(self, running, directory):
        programs = self.programs(directory)
        for target, program in programs.items():
            os.symlink(program, running.directory / "htdocs" / target)
        return ('cgi.upgrade = "enable"\n'
                + table("cgi.assign", {f"/{target}": '""' for target in programs}))


class Wscgi(Lighttpd):
    module = "mod_wscgi"

    def endpoints(self, entries):
        return table("wscgi.server", {
            f"/{target}": f'( {options}, "max-sessions" => 4096 )'
            for target, options in entries.items()})


class WscgiLines(Wscgi):
    text = True
    programs = staticmethod(line_programs)

    def configure(self, running, directory):
        return self.endpoints({target: f'"bin-path" => "{program}"'
                               for target, program in self.programs(directory).items()})


class WscgiDeflate(WscgiLines):
    deflate = True

    def endpoints(self, entries):
        return super().endpoints({target: options + ', "deflate" => "enable"'
                                  for target, options in entries.items()})


class WscgiWebsocket(Wscgi):
    programs = staticmethod(frame_programs)
    targets = ("echo", "python")

    def configure(self, running, directory):
        return self.endpoints({
            target: f'"bin-path" => "{program}", "framing" => "websocket"'
            for target, program in self.programs(directory).items()})


class WscgiDaemon(Wscgi):
    stream = True

    def configure(self, running, directory):
        return self.endpoints({
            target: f'"model" => "daemon", "framing" => "stream", "message-type" => "binary", '
                    f'"socket" => "{path}"'
            for target, path in start_daemons(running, directory).items()})


class FdTransferWorker(Lighttpd):
    """Not a program behind lighttpd: a worker on ws/ that is given the client's socket."""
    module = "mod_fd_transfer"
    targets = ("echo",)

    def configure(self, running, directory):
        path = running.directory / "worker.handoff"
        worker = directory.parent.parent / "samples/workers/echo_worker"
        process = running.start([worker, "--listen", path])
        running.wait_until(path.exists, process)
        return table("fd-transfer.server", {"/echo": f'( "socket" => "{path}" )'})


class FanOut(Contender):
    targets = ("echo",)
    text = True

    def run(self, running, build, directory):
        port, pid = running.start_on_own_port([directory / "fan_out"])
        running.targets["echo"] = Target(port, "/", pid)


class WscgiShared(Wscgi):
    targets = ("echo",)
    text = True

    def configure(self, running, directory):
        return self.endpoints({
            "echo": f'"model" => "shared", "bin-path" => "{directory / "echo_stdio"}"'})


def closed_by_newest_wstunnel(size):
    """lighttpd 1.4.83-1.4.86 take such frames for broken ones."""
    return 2048 <= size < 4096 or 6144 <= size < 8192 or size in (10240, 65535)


CONTENDERS = [
    InProcess("in-process"),
    UWebSockets("uWebSockets"),
    FdTransferWorker("ws worker behind fd_transfer"),
    Floor("floor"),
    WscgiDaemon("wscgi daemon stream"),
    Wstunnel("wstunnel newest", refuses=closed_by_newest_wstunnel),
    DebianWstunnel("wstunnel 1.4.69"),
    WscgiLines("wscgi session lines"),
    WscgiWebsocket("wscgi session websocket"),
    CgiUpgrade("cgi.upgrade"),
    Websocketd("websocketd", stalls=((512 * 1024, 2), (64 * 1024, 3))),
]

# Who is idle after a compressed message.
DEFLATE = [WscgiDeflate("wscgi session lines, permessage-deflate")]

# Of messages that go to every client.
SHARED = [FanOut("bare fan-out"), WscgiShared("wscgi shared lines")]
