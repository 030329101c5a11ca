# SPDX-License-Identifier: BSD-3-Clause
"""The harness itself: a server starts, serves, logs, reloads and ends; a bad one is reported."""
import urllib.request

import pytest


def test_a_server_serves_and_logs(start_lighttpd):
    server = start_lighttpd()
    (server.root / "page.txt").write_text("a page")
    with urllib.request.urlopen(server.url("/page.txt"), timeout=10) as response:
        assert response.read() == b"a page"
    server.wait_for(r"GET /page.txt HTTP/1.1\" 200", log="access")
    assert server.fds() and server.rss() > 0
    server.reload()
    server.stop()


def test_a_bad_configuration_is_reported(make_lighttpd):
    server = make_lighttpd(modules=["mod_that_is_not_there"])
    result = server.check_config()
    assert result.returncode != 0
    with pytest.raises(AssertionError, match="did not start"):
        server.start()


def test_a_process_left_behind_is_found(start_lighttpd):
    server = start_lighttpd('cgi.assign = ( ".sh" => "/bin/sh" )\n', modules=["mod_cgi"])
    (server.root / "leave.sh").write_text(
        "setsid sleep 1000 </dev/null >/dev/null 2>&1 &\nprintf 'Status: 204\\n\\n'\n")
    with urllib.request.urlopen(server.url("/leave.sh"), timeout=10) as response:
        assert response.status == 204
    with pytest.raises(AssertionError, match="sleep 1000"):
        server.stop(orphans_may_live=0)
