# SPDX-License-Identifier: BSD-3-Clause
"""A bad configuration stops lighttpd, and `lighttpd -tt`, with directive, value and remedy."""
import os
import tempfile

import lighttpd
import pytest

from service import REPORT, service, services

LONG = "/run/" + "x" * 103  # 108 bytes

CASES = {
    "missing program": ({"bin_path": "/no/such/program"},
                        ["bin-path", "/no/such/program", "No such file", "correct the path"]),
    "not executable": ({"bin_path": "/etc/passwd"}, ["/etc/passwd", "not an executable file"]),
    "a directory": ({"bin_path": "/tmp"}, ["/tmp", "is not an executable file"]),
    "relative path": ({"bin_path": "worker"}, ['"worker"', "absolute path"]),
    "no workers": ({"workers": 0}, ['"workers"', '"0"', "use 1 to"]),
    "socket path too long": ({"socket": LONG}, ["socket", LONG, "107 bytes"]),
    "relative socket path": ({"socket": "run/x"}, ["socket", '"run/x"', "absolute path"]),
    "grace at a socket": ({"socket": "/run/x", "grace": 1}, ['"grace"', "leave it out"]),
    "limits at a socket": ({"socket": "/run/x", "limits": {"nofile": 64}},
                           ['"limits"', "leave it out"]),
    "neither program nor socket": ({"bin_path": ""}, ["bin-path", "is empty"]),
    "both": ({"bin_path": str(REPORT), "socket": "/run/x"}, ["bin-path", '"socket"', "both"]),
    "unknown stage": ({"stage": "cooked"}, ["stage", '"cooked"', '"uri" "raw"']),
    "unknown option": ({"colour": "red"}, ['"colour"', "unknown option", '"workers"']),
    "deadline out of range": ({"deadline": 99999}, ["deadline", "99999", "use 1 to 3600"]),
    "unknown limit": ({"limits": {"memory": 1}}, ["limits", '"memory"', '"nofile"']),
    "limit that is no number": ({"limits": {"nofile": "many"}}, ["limits", '"many"', "setrlimit"]),
    "missing directory": ({"working_directory": "/no/dir"},
                          ["working-directory", "/no/dir", "create it"]),
    "unknown user": ({"user": "nobody-of-here"}, ["user", '"nobody-of-here"', "correct the name"]),
    "unknown taken": ({"taken": "perhaps"}, ["taken", '"perhaps"', '"never"']),
}


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_value_is_named(make, name):
    options, expected = CASES[name]
    check(make(service(**options)), ["fd-transfer.server", "/hot/", *expected])


def check(server, expected):
    result = server.check_config()
    assert result.returncode != 0
    for part in expected:
        assert part in result.stderr, result.stderr
    with pytest.raises(AssertionError, match="did not start"):
        server.start()
    for part in expected:
        assert part in server.log_text() + server.output.read_text()


def test_a_prefix_without_slash_is_named(make):
    check(make(service(prefix="hot")), ['"hot"', "slash", "/hot/"])


@pytest.mark.parametrize("prefix, reason", [
    ("/hot/../x/", '"/../"'), ("/./hot", '"/./"'), ("//hot/", '"//"'), ("/h%6ft/", "decoded")])
def test_a_prefix_that_matches_nothing_is_named(make, prefix, reason):
    check(make(service(prefix=prefix)), [f'"{prefix}"', reason])


def test_both_names_of_the_directive_in_one_scope_are_named(make):
    one, other = service(), service("/warm/").replace("fd-transfer.server", "fd_transfer.services")
    check(make(one + other), ["fd_transfer.services", "fd-transfer.server", "one scope"])
    nested = make(one + '$HTTP["host"] == "x" {\n' + other + "}\n")
    assert nested.check_config().returncode == 0


def test_an_entry_that_is_no_table_is_named(make):
    server = make('fd-transfer.server = ( "/hot/" => "x" )\n')
    assert server.check_config().returncode != 0


def test_raw_without_the_hook_is_named(make, patched):
    if patched:
        assert make(service(stage="raw")).check_config().returncode == 0
    else:
        check(make(service(stage="raw")), ["stage", '"raw"', "patches", '"uri"'])


def test_a_good_configuration_passes(make):
    server = make(services({
        "/a/": {"bin-path": f"{REPORT} one two", "workers": 2, "stage": "uri",
                "bin-environment": {"A": "1"}, "bin-copy-environment": ["PATH"],
                "limits": {"nofile": 64}, "working-directory": "/tmp", "start": "demand"},
        "/b.d/..c/100%/.": {"socket": "/run/b.handoff", "deadline": 3, "workers": 3}}))
    result = server.check_config()
    assert result.returncode == 0, result.stderr
    assert "fd-transfer" not in result.stderr
    assert not os.path.exists("/run/b.handoff")


def test_all_errors_are_reported_at_once(make):
    result = make(service(workers=0, deadline=0, stage="cooked")).check_config()
    for part in ['"workers"', '"deadline"', '"stage"']:
        assert part in result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_limits_that_the_server_may_not_set_stop_it_at_start():
    """It has become another user when it reads them; `lighttpd -tt` as root cannot know."""
    with tempfile.TemporaryDirectory() as directory:  # which that user can read
        server = lighttpd.Lighttpd(
            directory, 'server.username = "nobody"\n' + services(
                {"/hot/": {"bin-path": "/bin/cat", "limits": {"nofile": str(2**40)}}}),
            modules=["mod_fd_transfer"])
        os.chmod(directory, 0o777)
        with pytest.raises(AssertionError, match="above the hard limit, which only root may raise"):
            server.start()
