# SPDX-License-Identifier: BSD-3-Clause
"""`meson install`: a C++ program is built with pkg-config and runs behind the installed
fdworker-cat, with nothing of the source tree but the program."""
import os
import pathlib
import re
import shlex
import subprocess
import urllib.request

import pytest

SAMPLES = pathlib.Path(__file__).resolve().parents[3] / "samples" / "workers"
PREFIX = pathlib.Path(os.environ["PREFIX"])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Where everything was installed, as below `/`."""
    directory = tmp_path_factory.mktemp("root")
    subprocess.run(["meson", "install", "-C", os.environ["BUILD"], "--no-rebuild",
                    "--skip-subprojects", "--destdir", directory], check=True, capture_output=True)
    return directory


def below(root, path):
    return root / pathlib.Path(path).relative_to("/")


@pytest.fixture(scope="module")
def environment(root):
    """That of somebody who has it installed."""
    libraries = below(root, PREFIX / os.environ["LIBDIR"])
    return {**os.environ, "PKG_CONFIG_SYSROOT_DIR": str(root),
            "PKG_CONFIG_LIBDIR": str(libraries / "pkgconfig"), "LD_LIBRARY_PATH": str(libraries),
            "PYTHONPATH": str(below(root, os.environ["PYTHON_DIR"])),
            "PYTHONDONTWRITEBYTECODE": "1"}


def test_a_program_is_compiled_linked_and_run_behind_fdworker_cat(root, environment, tmp_path):
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fdworker"], env=environment,
                           check=True, capture_output=True, text=True).stdout
    worker = tmp_path / "worker"
    subprocess.run(["c++", "-std=c++20", "-Wall", "-Wextra", "-Werror", "-o", worker,
                    SAMPLES / "epoll_worker.cpp", *shlex.split(flags)], check=True)
    cat = subprocess.Popen([below(root, PREFIX / "bin" / "fdworker-cat"), "--prefix", "/hot/",
                            "--", worker], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        url = re.search(r"http://\S+", cat.stderr.readline())[0]
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert answer.read().startswith(b"Hello from worker ")
    finally:
        cat.terminate()
        cat.communicate(timeout=30)  # it may have something to say to the end
    assert cat.returncode == 0


def test_the_python_package_is_where_python_looks():
    paths = subprocess.run(["/usr/bin/python3", "-c", "import sys; print('\\n'.join(sys.path))"],
                           check=True, capture_output=True, text=True).stdout.splitlines()
    if PREFIX not in (pathlib.Path("/usr"), pathlib.Path("/usr/local")):
        pytest.skip(f"Python does not look below {PREFIX}: PYTHONPATH is needed there")
    assert os.environ["PYTHON_DIR"] in paths


def test_all_modules_are_installed(root, environment):
    source = pathlib.Path(__file__).resolve().parents[3] / "worker/python"
    modules = [".".join(path.relative_to(source).with_suffix("").parts)
               for path in (source / "fdworker").rglob("*.py")]
    imports = "; ".join(f"import {name}" for name in modules)
    subprocess.run(["/usr/bin/python3", "-c", imports],
                   env=environment, check=True, cwd="/")
    assert (below(root, os.environ["PYTHON_DIR"]) / "fdworker" / "py.typed").exists()


@pytest.mark.parametrize("module", ["fdworker.wsgi"])
def test_what_python_programs_need_is_installed(environment, module, tmp_path):
    """No more than that each part is found: the application is not."""
    done = subprocess.run(["/usr/bin/python3", "-m", module, "no_such_module:app"], env=environment,
                          cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60, check=False)
    assert "Traceback" not in done.stderr and "No module named 'fdworker" not in done.stderr
