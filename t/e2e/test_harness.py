# SPDX-License-Identifier: BSD-3-Clause
"""The harness itself: a server starts, serves, logs, reloads and ends; a bad one is reported."""
import os
import urllib.request

import processes
import pytest
from lighttpd import is_sanitized


def test_a_server_serves_and_logs(start_lighttpd):
    server = start_lighttpd()
    (server.root / "page.txt").write_text("a page")
    with urllib.request.urlopen(server.url("/page.txt"), timeout=10) as response:
        assert response.read() == b"a page"
    server.wait_for(r"GET /page.txt HTTP/1.1\" 200", log="access")
    assert server.fds() and (server.rss() > 0 or is_sanitized())
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
    server.wait_until(lambda: "sleep 1000" in map(processes.command,
                                                  processes.descendants(os.getpid())), "the process")
    with pytest.raises(AssertionError, match="sleep 1000"):
        server.stop(orphans_may_live=0)


NULL = "runtime error: applying non-zero offset 18446744073709551612 to null pointer"
HPACK = "runtime error: null pointer passed as argument 2, which is declared to never be null"
LIGHTTPD = "../subprojects/lighttpd-1.4.85/src"


@pytest.mark.parametrize("report, ours", [
    (f"{LIGHTTPD}/h2.c:2011:36: {NULL}\n    #0 0x7f in h2_recv_headers {LIGHTTPD}/h2.c:2011\n"
     f"    #1 0x7f in h2_parse_frames {LIGHTTPD}/h2.c:2103", False),
    (f"{LIGHTTPD}/ls-hpack/lshpack.c:258:5: {HPACK}\n"
     f"    #0 0x7f in lshpack_arr_push {LIGHTTPD}/ls-hpack/lshpack.c:258", False),
    (f"{LIGHTTPD}/h2.c:9:36: {NULL}\n    #0 0x7f in h2_send_headers {LIGHTTPD}/h2.c:9", True),
    (f"../ws/frame.cpp:9:36: {NULL}\n    #0 0x7f in ws::frame ../ws/frame.cpp:9", True),
    ("==7==ERROR: LeakSanitizer: detected memory leaks", True)])
def test_only_two_reports_are_lighttpds_own(make_lighttpd, report, ours):
    server = make_lighttpd()
    server.output.write_text(f"before\n{report}\nafter\n")
    if ours:
        with pytest.raises(AssertionError, match="sanitizer report"):
            server.check_sanitizers()
    else:
        server.check_sanitizers()
