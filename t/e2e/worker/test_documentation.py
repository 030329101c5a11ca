# SPDX-License-Identifier: BSD-3-Clause
"""Every block of doc/writing-workers.md does what the page says, typed in as it stands there."""
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

import fronts
import lighttpd
from test_http import curl

ROOT = pathlib.Path(__file__).resolve().parents[3]
PAGE = ROOT / "doc" / "writing-workers.md"
HEADERS = ROOT / "worker" / "cpp"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def block(language, text):
    """The one block in this language that contains the text."""
    [found] = [code for name, code in BLOCKS if name == language and text in code]
    return found


@pytest.fixture
def folder(tmp_path):
    """A scratch folder with what the page has the reader put into files."""
    (tmp_path / "worker.py").write_text(block("python", "import fdworker"))
    (tmp_path / "worker.cpp").write_text(block("cpp", "#include <fdworker.h>"))
    (tmp_path / "app.py").write_text(block("python", "async def app"))
    return tmp_path


@pytest.fixture
def environment(folder):
    """That of somebody who has installed everything, and stands in the folder."""
    programs = folder / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to(sys.executable)
    (programs / "fdworker-cat").symlink_to(pathlib.Path(fronts.PYTHON_PACKAGE) / "fdworker-cat")
    uninstalled = fronts.BUILT.parents[1] / "meson-uninstalled"
    return {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}",
            "PKG_CONFIG_PATH": str(uninstalled), "CPATH": str(HEADERS),
            "PYTHONPATH": fronts.PYTHON_PACKAGE, "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def shell(folder, environment):
    """shell(command): the process, in the folder; ended, with status 0, at the end of the test."""
    started = []

    def start(command, **options):
        started.append(subprocess.Popen(["sh", "-c", f"exec {command}"], cwd=folder,
                                        stdin=subprocess.DEVNULL, env=environment, **options))
        return started[-1]
    yield start
    for process in started:
        process.terminate()
        try:
            assert process.wait(30) == 0
        finally:
            process.kill()


@pytest.fixture
def cat(shell):
    """cat(worker's command): the page's fdworker-cat with it, and the answer to the page's curl."""
    def answer(command):
        port = str(lighttpd.free_port())
        text = block("sh", "fdworker-cat").replace("8080", port)
        assert text.count("-- python3 worker.py") == 1
        process = shell(text.replace("python3 worker.py", command), stderr=subprocess.PIPE)
        with process.stderr:
            assert b"http://" in process.stderr.readline()
            return subprocess.run(block("sh", "curl").replace("8080", port), shell=True, check=True,
                                  capture_output=True, timeout=30).stdout
    return answer


def test_each_block_is_tested():
    assert sorted(name for name, _ in BLOCKS) == sorted(
        ["python", "cpp", "python", "sh", "sh", "lighttpd", "sh", "lighttpd"])


def test_python(cat):
    assert cat("python3 worker.py") == b"Hello, you asked: GET / HTTP/1.1\n"


def test_asgi(cat):
    command = re.search(r"`(python3 -m fdworker.asgi app:app)`", PAGE.read_text())[1]
    assert cat(command) == b"Hello\n"


def test_cpp(cat, folder, environment):
    command = re.search(r"`(c\+\+ [^`]*)`", PAGE.read_text())[1]
    if lighttpd.is_sanitized():
        command += " -fsanitize=address,undefined"
    subprocess.run(command, shell=True, check=True, cwd=folder, env=environment)
    library = shlex.quote(str(fronts.BUILT.parents[1] / "worker"))
    assert cat(f"env LD_LIBRARY_PATH={library} ./worker") == b"Hello\n"


def test_lighttpd_starts_the_worker(folder, start_lighttpd):
    config = block("lighttpd", "bin-path").replace("/usr/libexec", str(folder))
    server = start_lighttpd(config, environment={"PYTHONPATH": fronts.PYTHON_PACKAGE})
    assert curl(server.url("/hot/x")) == b"Hello, you asked: GET /hot/x HTTP/1.1\n"


def test_http2_and_plain_http_reach_one_worker(folder, shell, start_lighttpd):
    shell(block("sh", "--listen").replace("/run/", f"{folder}/"))
    fronts.wait_until((folder / "app.http").exists, "the worker to listen")
    server = start_lighttpd(block("lighttpd", "mod_proxy").replace("/run/", f"{folder}/"))
    assert curl(server.url("/hot/x")) == b"Hello\n"
    assert curl("--http2-prior-knowledge", server.url("/hot/x")) == b"Hello\n"
