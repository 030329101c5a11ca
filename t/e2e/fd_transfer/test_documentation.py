# SPDX-License-Identifier: BSD-3-Clause
"""What doc/mod_fd_transfer.md says, against what the module does: options, defaults, directives,
counters, statuses and configurations."""
import pathlib
import re

import pytest

from service import STATUS, counters, service

ROOT = pathlib.Path(__file__).parents[3]
PAGE = ROOT / "doc" / "mod_fd_transfer.md"
SOURCE = ROOT / "mod_fd_transfer"


def documented_options():
    """Option -> its default, in the tables of the section "Directive"."""
    section = PAGE.read_text().split("\n## Directive\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([a-z-]+)` \|(.*?)\| ", section, flags=re.M)
    return {name: default.strip() for name, default in rows}


def messages(make, **options):
    return make(service(**options)).check_config().stderr


def test_all_options_are_documented(make):
    known = re.search(r"unknown option; known are (.*)", messages(make, no_such_option=1))[1]
    assert set(re.findall(r'"([^"]+)"', known)) == set(documented_options())


def test_their_defaults_are_those_of_the_page(make):
    documented = documented_options()
    numbers = {name for name, default in documented.items() if default.isdigit()}
    said = dict(re.findall(r'"([a-z-]+)": "-1" is not .* use \d+ to \d+, (\d+) is the default',
                           messages(make, **{name: "-1" for name in numbers})))
    assert said == {name: documented[name] for name in numbers}
    assert len(numbers) > 8
    choices = {name: default.strip("`") for name, default in documented.items()
               if default.startswith("`")}
    for name, default in choices.items():
        text = messages(make, **{name: "no-such-value"})
        allowed = re.search(rf'"{name}": .*', text)[0]
        assert f'"{default}"' in allowed, (name, text)
    assert "stage" in choices and "taken" in choices


def test_both_names_of_the_directive_are_documented():
    source = (SOURCE / "configuration.cpp").read_text()
    names = set(re.findall(r'CONST_STR_LEN\("(fd[a-z_.-]+)"\)', source))
    assert names == {"fd-transfer.server", "fd_transfer.services"}
    assert all(f"`{name}" in PAGE.read_text() for name in names)


def test_every_counter_is_documented(start):
    server = start(STATUS + service(), modules=["mod_status"])
    section = PAGE.read_text().split("\n## Seeing what happens\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`[a-z-]+`(?:, `[a-z-]+`)*) \| .* \|$", section, flags=re.M)
    documented = re.findall(r"`([a-z-]+)`", " ".join(rows))
    assert sorted(documented) == sorted(counters(server))


def test_every_status_of_the_module_is_documented():
    """Those that its own code answers with."""
    source = "".join(path.read_text() for path in SOURCE.glob("*.cpp"))
    statuses = set(re.findall(r"(?:refuse\([^;]*?, |status = |\{)(4\d\d|5\d\d)\b", source))
    page = PAGE.read_text()
    assert {"413", "502", "503"} <= statuses
    assert [status for status in statuses if status not in page] == []


def configurations():
    """The indented blocks of lighttpd.conf in the page."""
    blocks = re.findall(r"(?:^    .*\n)+", PAGE.read_text(), flags=re.M)
    return ["".join(line[4:] + "\n" for line in block.splitlines()) for block in blocks
            if re.search(r"^    (fd-transfer|server)\.", block, re.M)]


@pytest.mark.parametrize("number", range(len(configurations())))
def test_the_configurations_of_the_page_are_accepted(make, number):
    text = configurations()[number]
    text = re.sub(r'("bin-path" => )"/usr/[^"]*"', r'\1"/bin/cat"', text)
    text = text.replace('server.modules += ( "mod_fd_transfer" )\n', "")
    checked = make(text).check_config()
    assert checked.returncode == 0 and "WARNING" not in checked.stderr, checked.stderr


def test_links_lead_somewhere():
    for page in (PAGE, *(ROOT / "doc" / f"{name}.md" for name in (
            "handoff-record", "writing-workers", "architecture"))):
        for target in re.findall(r"\]\(([^)#]*)(?:#[^)]*)?\)", page.read_text()):
            assert not target or (page.parent / target).exists(), (page.name, target)
        anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
                   for title in re.findall(r"^#+ (.*)$", page.read_text(), re.M)}
        for anchor in re.findall(r"\]\(#([^)]*)\)", page.read_text()):
            assert anchor in anchors, (page.name, anchor)
