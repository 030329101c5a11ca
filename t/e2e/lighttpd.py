# SPDX-License-Identifier: BSD-3-Clause
"""A real lighttpd for one test: configuration, start, what can be observed of it, and a clean end.

The environment names the server and its module directory, as `meson test` does:
LIGHTTPD (the binary) and LIGHTTPD_MODULES (what -m gets).
"""
import functools
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import time

import processes

START_TIMEOUT = 15  # seconds; a sanitizer build on a busy machine is slow
STOP_TIMEOUT = 30
REPORTS = re.compile(r"(Address|Leak|UndefinedBehavior|Thread)Sanitizer|runtime error:")
# Upstream's own, in code that is not ours: the HPACK library's first table, which is empty, and the
# last four bytes of a URL that is missing. Told by file, function and fault.
UPSTREAM_REPORTS = re.compile(
    r"^\S+/src/ls-hpack/lshpack\.c:\d+:\d+: runtime error: null pointer passed as argument 2, which "
    r"is declared to never be null\n +#0 \S+ in lshpack_arr_push \S+/lshpack\.c:\d+$"
    r"|^\S+/src/h2\.c:\d+:\d+: runtime error: applying non-zero offset 18446744073709551612 to null "
    r"pointer\n +#0 \S+ in h2_recv_headers \S+/h2\.c:\d+$", re.MULTILINE)
# Upstream's own leaks at exit: HTTP/2 and TLS connections that are open when SIGTERM comes; the match
# data of conditions with a regular expression (1.4.85 frees them only if there are none).
LEAKS = "".join(f"leak:{name}\n" for name in (
    "connection_transition_h2", "h2_init_con", "h2_init_stream", "mod_openssl", "libssl.so",
    "libcrypto.so", "libpcre2-8.so"))

CONFIG = """\
server.document-root = "{root}"
server.bind = "127.0.0.1"
server.port = {port}
server.errorlog = "{errorlog}"
server.modules = ( {modules} )
accesslog.filename = "{accesslog}"
accesslog.format = "{accesslog_format}"
"""


def required_path(name):
    """The path in an environment variable, or an error that says how to set it."""
    value = os.environ.get(name)
    if not value:
        raise RuntimeError(f"{name} is not set: run the tests with `meson test -C BUILD --suite "
                           "e2e`, or set LIGHTTPD to a lighttpd binary and LIGHTTPD_MODULES to "
                           "its module directory")
    if not os.path.exists(value):
        raise RuntimeError(f"{name} is {value}, which does not exist: build first")
    return value


def binary():
    return required_path("LIGHTTPD")


def modules_directory():
    return required_path("LIGHTTPD_MODULES")


def version():
    """The server's version, as in (1, 4, 85)."""
    text = subprocess.run([binary(), "-v"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, re.search(r"lighttpd/(\d+)\.(\d+)\.(\d+)", text).groups()))


def has_raw():
    """True if the server has the hook of our patches, so that stage `raw` is possible."""
    return b"plugins_register_request_raw" in pathlib.Path(binary()).read_bytes()


@functools.cache
def is_sanitized():
    """True if the server was built with AddressSanitizer."""
    return b"__asan_init" in pathlib.Path(binary()).read_bytes()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Lighttpd:
    """One server. Use as a context manager, or through the `lighttpd` fixture."""

    def __init__(self, directory, config="", modules=(), environment=None, tls=False,
                 accesslog_format='%h %V %u %t \\"%r\\" %>s %b'):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.root = self.directory / "htdocs"
        self.root.mkdir(exist_ok=True)
        self.config_file = self.directory / "lighttpd.conf"
        self.error_log = self.directory / "error.log"
        self.access_log = self.directory / "access.log"
        self.output = self.directory / "output.log"  # stdout and stderr: programs' and sanitizers'
        suppressions = self.directory / "leaks.txt"
        suppressions.write_text(LEAKS)
        self.environment = dict(os.environ, **(environment or {}))
        self.environment.setdefault(
            "LSAN_OPTIONS", f"suppressions={suppressions}:print_suppressions=0")
        self.environment.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
        self.process = None
        self.tls = tls  # the configuration switches TLS on for the main socket
        self._config = config
        self._modules = [*modules, "mod_accesslog"]
        self._accesslog_format = accesslog_format
        self._write_config(free_port())

    def _write_config(self, port):
        self.port = port
        head = CONFIG.format(root=self.root, port=port, errorlog=self.error_log,
                             accesslog=self.access_log, accesslog_format=self._accesslog_format,
                             modules=", ".join(f'"{name}"' for name in self._modules))
        self.config_file.write_text(head + self._config)

    def set_config(self, config):
        """Replaces what the test added to the configuration; takes effect at the next reload."""
        self._config = config
        self._write_config(self.port)

    # --- life ---

    def command(self, *options):
        return [binary(), "-f", str(self.config_file), "-m", modules_directory(), *options]

    def check_config(self):
        """`lighttpd -tt`: the finished process; its stderr holds the messages."""
        return subprocess.run(self.command("-tt"), capture_output=True, text=True, timeout=30,
                              env=self.environment, check=False)

    def start(self, wrapper=(), attempts=5):
        """Starts the server and returns once it accepts connections.

        `wrapper` stands before the command and must leave the server as our child:
        ("strace", "-D", "-o", "file"). Another process may take
        the port between our choice and the server's bind; then another port is tried."""
        # strace leaves LeakSanitizer no way to look.
        environment = {**self.environment, **({"LSAN_OPTIONS": "detect_leaks=0"} if wrapper else {})}
        for _ in range(attempts):
            with open(self.output, "ab") as output:
                self.process = subprocess.Popen([*wrapper, *self.command("-D")],
                                                stdin=subprocess.DEVNULL, stdout=output,
                                                stderr=output, env=environment,
                                                start_new_session=True)  # it signals its group
            if self._wait_until_it_accepts():
                self.wait_for_no_client()  # ours; what the server has is counted from here
                return self
            self.process.wait()
            if "Address already in use" not in self.log_text() + self.output.read_text():
                break
            self._write_config(free_port())
        process, self.process = self.process, None
        raise AssertionError(f"lighttpd did not start (exit status {process.returncode}):\n"
                             f"{self.log_text()}{self.output.read_text(errors='replace')}")

    def _wait_until_it_accepts(self):
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if self._answers():
                return True
            if self.process.poll() is not None:
                return False
            time.sleep(0.01)
        self.process.kill()
        return False

    def _answers(self):
        """True once the server runs its event loop. It listens, and connections succeed, before
        it has read its modules' configuration; so it is asked something (`OPTIONS *`, which stays
        in the access log) and must say anything."""
        try:
            with self.connect_tls() if self.tls else self.connect() as probe:
                probe.sendall(b"OPTIONS * HTTP/1.0\r\n\r\n")
                return bool(probe.recv(1))
        except OSError:
            return False

    @property
    def pid(self):
        return self.process.pid

    def send_signal(self, number):
        os.kill(self.pid, number)

    def stop(self, number=signal.SIGTERM, orphans_may_live=5):
        """Stops the server and checks that it ended well: exit status 0, no process left over
        (given `orphans_may_live` seconds to end), no sanitizer report."""
        if self.process is None:
            return
        process, self.process = self.process, None
        if process.poll() is None:
            process.send_signal(number)
        try:
            status = process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"lighttpd did not stop within {STOP_TIMEOUT} s of signal "
                                 f"{number}:\n{self.log_text()}") from None
        left = processes.end_orphans(orphans_may_live)
        assert not left, f"lighttpd left processes behind: {left}"
        self.check_sanitizers()
        # lighttpd's own way to say that connections were open when SIGTERM came
        cut_short = status == 1 and "server stopped by UID" in self.log_text()
        assert status == 0 or cut_short, (
            f"lighttpd exited with status {status}:\n{self.log_text()}"
            f"{self.output.read_text(errors='replace')}")

    def kill(self):
        """kill -9. What survives is the test's to check; end_orphans() clears it away."""
        process, self.process = self.process, None
        process.kill()
        process.wait()

    def check_sanitizers(self):
        text = self.output.read_text(errors="replace") + self.log_text()
        text = UPSTREAM_REPORTS.sub("", text)
        assert not REPORTS.search(text), f"sanitizer report:\n{text}"

    def reload(self):
        """SIGUSR1, and waits until the server runs again with its new configuration."""
        before = self.log_text().count("server started")
        self.send_signal(signal.SIGUSR1)
        self.wait_until(lambda: self.log_text().count("server started") > before,
                        "server started again")

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, traceback):
        self.stop()

    # --- what can be observed ---

    def connect(self, timeout=20):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def connect_tls(self, protocols=("http/1.1",)):
        """A TLS connection; the server's certificate is not verified."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(protocols)
        return context.wrap_socket(self.connect())

    def url(self, path="/", scheme="http"):
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def log_text(self):
        return self._text(self.error_log)

    @staticmethod
    def _text(path):
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_until(self, condition, what, timeout=15):
        """Waits until condition() is true, and returns what it returned."""
        deadline = time.monotonic() + timeout
        while not (result := condition()):
            assert time.monotonic() < deadline, (
                f"waited {timeout} s in vain for {what}\nerror log:\n{self.log_text()}"
                f"output:\n{self._text(self.output)}")
            time.sleep(0.01)
        return result

    def wait_for(self, pattern, log="error", timeout=15):
        """Waits for a line that matches in log `error`, `access` or `output`. The match.

        The access log is buffered: each look makes the server write it out (SIGHUP)."""
        path = {"error": self.error_log, "access": self.access_log, "output": self.output}[log]

        def look():
            if log == "access":
                self.send_signal(signal.SIGHUP)
            return re.search(pattern, self._text(path), re.MULTILINE)
        return self.wait_until(look, f"{pattern!r} in the {log} log", timeout)

    def fds(self):
        """Open descriptors of the server: number -> what it is ("socket:[123]")."""
        return processes.fds(self.pid)

    def wait_for_no_client(self):
        """Waits until the server has closed its last connection from a client, which happens some
        time after the client has left. To be called before fds() are counted."""
        self.wait_until(lambda: self.port not in processes.connections(self.pid),
                        "the clients' connections to be closed")

    def children(self):
        """Pids of all processes that descend from the server."""
        return processes.descendants(self.pid)

    def rss(self):
        """Resident memory of the server, in bytes. 0 in a build with sanitizers: freed memory is
        kept there to find its late use, so that bounds say nothing."""
        return 0 if is_sanitized() else processes.rss(self.pid)

    def cpu(self):
        """CPU time the server has used, user and system, in seconds."""
        return processes.cpu(self.pid)
