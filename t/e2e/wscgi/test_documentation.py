# SPDX-License-Identifier: BSD-3-Clause
"""What the pages say, against what the module does: directives, options, counters, variables,
configurations and programs."""
import asyncio
import contextlib
import hashlib
import pathlib
import re

import pytest
import websockets
from conftest import SAMPLES, server_directive
from test_samples import connect, exchange

DOC = pathlib.Path(__file__).parents[3] / "doc"
SOURCE = pathlib.Path(__file__).parents[3] / "mod_wscgi"


def page_programs():
    """Section name -> the first program in it, of doc/writing-programs.md."""
    sections = re.split(r"^## (.*)$", (DOC / "writing-programs.md").read_text(), flags=re.M)
    blocks = {name: re.search(r"^```\w+\n(#!.*?)^```", text, flags=re.M | re.S)
              for name, text in zip(sections[1::2], sections[2::2])}
    return {name: block[1] for name, block in blocks.items() if block}


@pytest.mark.parametrize("section, options, message, answer", [
    ("lines", {}, "Ada", "Hello, Ada!"),
    ("stream", {"framing": "stream", "message-type": "text"}, "abc", "ABC"),
    ("packet", {"framing": "packet", "message-type": "text"}, "a\nb",
     hashlib.sha256(b"a\nb").hexdigest()),
    ("length", {"framing": "length"}, b"\0\n", b"\0\n"),
    ("A daemon", {"model": "daemon"}, "Ada", "Hello, Ada"),
])
def test_the_programs_of_the_page_for_authors(serve, program, section, options, message, answer):
    path = program("p", page_programs()[section])
    server = serve({"/ws": {"bin-path": path, **options}})
    assert asyncio.run(exchange(server, message)) == [answer]


def test_the_program_of_the_page_that_looks_at_the_cookie(serve, program):
    path = program("p", page_programs()["Refuse a client, set a cookie: headers"])
    server = serve({"/ws": {"bin-path": path, "headers": "enable"}})

    async def talk():
        async with connect(server, extra_headers={"Cookie": "session=1"}) as client:
            await client.send("x")
            assert await client.recv() == "x"
        with pytest.raises(websockets.InvalidStatusCode) as refusal:
            await connect(server)
        return refusal.value.status_code
    assert asyncio.run(talk()) == 403


def documented_options():
    """Option -> the rest of its row, in the tables of doc/mod_wscgi.md under "Options"."""
    section = (DOC / "mod_wscgi.md").read_text().split("\n## Options\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*?) \| (.*?) \|", section, flags=re.M)
    return {name: (kind, default) for name, kind, default in rows}


def test_all_options_are_documented_with_their_ranges_and_defaults(make_lighttpd):
    documented = documented_options()
    numbers = {name: "-1" for name, (kind, _) in documented.items() if re.match(r"\d+-\d+$", kind)}
    server = make_lighttpd(server_directive(
        {"/ws": {"bin-path": "/bin/cat", "no-such-option": 1, **numbers}}), modules=["mod_wscgi"])
    messages = server.check_config().stderr
    known = re.search(r"unknown option; known are (.*)", messages)[1]
    assert set(re.findall(r'"([^"]+)"', known)) == set(documented)
    ranges = re.findall(r'"([a-z-]+)": "-1" is not .* use (\d+) to (\d+), (\d+) is the default',
                        messages)
    assert {name: (f"{least}-{most}", default) for name, least, most, default in ranges} == {
        name: documented[name] for name in numbers}
    assert len(numbers) > 10


def configurations(page):
    """The blocks of lighttpd.conf in a page, with the samples where they are here, and programs
    that are not here replaced by one that is."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), flags=re.M | re.S)
    blocks = [text for language, text in fenced if not language]
    return [re.sub(r'("bin-path" => )"/(usr/local|path/to)/[^"]*"', r'\1"/bin/cat"',
                   block.replace("/usr/share/lighttpd-handoff", str(SAMPLES)))
            for block in blocks if re.search(r"^\s*(wscgi|wstunnel)\.", block, re.M)]


PAGES = [SAMPLES / "README.md", *(DOC / f"{name}.md" for name in (
    "mod_wscgi", "writing-programs", "coming-from-websocketd", "coming-from-mod_wstunnel"))]
CONFIGURATIONS = [(page, number, block) for page in PAGES
                  for number, block in enumerate(configurations(page))]


@pytest.mark.parametrize("config", [block for _, _, block in CONFIGURATIONS],
                         ids=[f"{page.stem}-{number}" for page, number, _ in CONFIGURATIONS])
def test_the_configurations_of_the_pages_are_accepted(make_lighttpd, config):
    modules = ["mod_wscgi", "mod_alias"] + ["mod_wstunnel"] * ("wstunnel" in config)
    # What the harness has said already.
    config = re.sub(r"^server\.(port|document-root|modules) .*\n", "", config, flags=re.M)
    checked = make_lighttpd(config, modules=modules).check_config()
    assert checked.returncode == 0 and "WARNING" not in checked.stderr, checked.stderr


def test_every_option_has_an_example():
    page = "".join(configurations(DOC / "mod_wscgi.md"))
    assert [name for name in documented_options() if f'"{name}" =>' not in page] == []


SCOPES = {"CONNECTION": "server and all conditions", "SERVER": "server"}


def test_every_directive_is_documented_with_type_default_scope_and_example():
    source = (SOURCE / "configuration.cpp").read_text()
    directives = dict(re.findall(r'CONST_STR_LEN\("([a-z.-]+)"\), \w+, T_CONFIG_SCOPE_(\w+)', source))
    page = (DOC / "mod_wscgi.md").read_text()
    sections = dict(re.findall(r"^### (wscgi\.[a-z-]+)\n(.*?)(?=^##)", page, flags=re.M | re.S))
    assert set(sections) == set(directives) and len(directives) == 3
    for name, text in sections.items():
        row = re.search(r"^\| type \| default \| scope \|\n\|---.*\n\| .+ \| .+ \| (.+) \|$", text,
                        re.M)
        assert row and row[1] == SCOPES[directives[name]], name
        assert re.search(rf"^```\n[^`]*{name} = \(", text, re.M), name


def test_every_counter_is_documented():
    source = "".join(path.read_text() for path in SOURCE.glob("*.cpp"))
    source += (SOURCE / "statistics.h").read_text()
    counters = set(re.findall(r'"wscgi\.([a-z-]+)"', source)) - {"server", "assign", "options"}
    refusals = set(re.findall(r'refuse\([^;]*?"([a-z-]+)",', source)) | {"handshake", "origin"}
    section = (DOC / "mod_wscgi.md").read_text().split("## Statistics and log")[1]
    rows = re.findall(r"^\| (`wscgi\..*?) \| (.*) \|$", section, flags=re.M)
    documented = set(re.findall(r"`wscgi\.([a-z-]+)`", " ".join(names for names, _ in rows)))
    reasons = next(text for names, text in rows if "REASON" in names)
    assert documented == counters and len(documented) > 5
    assert refusals <= set(re.findall(r"`([a-z-]+)`", reasons)) and len(refusals) > 5


def test_every_variable_is_documented(serve, tls):
    server = serve({"/ws": {"bin-path": str(SAMPLES / "dump-env.py"), "subprotocols": "chat",
                            "deflate": "enable"}}, tls.config)

    async def talk():
        seen = []
        async with connect(server, "/ws/more", subprotocols=["chat"],
                           origin=server.url("")) as client:
            with contextlib.suppress(websockets.ConnectionClosedOK):
                while True:
                    seen.append((await client.recv()).split("=")[0])
        return seen
    table = (DOC / "mod_wscgi.md").read_text().split("\n## Environment\n")[1].split("\n## ")[0]
    documented = set(re.findall(r"`([A-Z_]+)`", table))
    seen = asyncio.run(talk())
    assert [name for name in seen if name not in documented and not name.startswith("HTTP_")
            and name not in ("LC_CTYPE",)] == []  # the interpreter's own
    assert len(seen) > 20
