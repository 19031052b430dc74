"""The molecule scenarios and tools/molecule_rig.py: package mirrors, order of scenarios, documented findings."""

from __future__ import annotations

import importlib
import re

import pytest
import yaml

from simulators import mdatp
from tools.collection_tree import CHECKOUT

FALLBACK = "http://deb.debian.org/debian"
SOURCES = {
    "nothing": ({}, FALLBACK),
    "one line": ({"sources.list": "deb http://one.example/debian bookworm main\n"}, "http://one.example/debian"),
    "options, through a caching proxy": (
        {"sources.list": "deb [arch=amd64 signed-by=/k.gpg] http://cache:3142/deb.debian.org/debian/ trixie main\n"},
        "http://cache:3142/deb.debian.org/debian/",
    ),
    "no comments, sources, security or others": (
        {
            "sources.list": "# deb http://no.example/debian bookworm main\n"
            "deb-src http://no.example/debian bookworm main\n"
            "deb http://no.example/debian-security bookworm-security main\n"
            "deb http://no.example/debian bookworm-security main\n"
            "deb http://no.example/ubuntu jammy main\n"
            "deb cdrom:[Debian 12]/debian bookworm main\n",
            "sources.list.d/later.list": "deb https://yes.example/debian bookworm main\n",
        },
        "https://yes.example/debian",
    ),
    "stanzas": (
        {
            "sources.list.d/debian.sources": "# here\nTypes: deb\nURIs: http://off.example/debian\nSuites: bookworm\n"
            "Enabled: no\n\nTypes: deb-src\nURIs: http://src.example/debian\nSuites: bookworm\n\n"
            "types: deb deb-src\nURIs:\n# not this\n http://on.example/debian\n http://second.example/debian\n"
            "Suites: bookworm bookworm-updates\nComponents: main\n"
        },
        "http://on.example/debian",
    ),
}


@pytest.fixture
def rig(monkeypatch):
    monkeypatch.syspath_prepend(str(CHECKOUT / "tools"))
    return importlib.import_module("molecule_rig")


@pytest.mark.parametrize("case", SOURCES)
def test_packages_come_from_the_mirror_that_apt_uses(rig, tmp_path, case):
    files, address = SOURCES[case]
    (tmp_path / "sources.list.d").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert rig.package_mirror(tmp_path) == address


def agents():
    table = yaml.safe_load((CHECKOUT / "molecule/broken_agents/molecule.yml").read_text(encoding="utf-8"))
    return [platform for platform in table["platforms"] if "agents" in platform["groups"]]


def test_every_faulty_state_of_the_simulated_agent_has_a_host():
    broken = " ".join(agent["rig"].get("breaks", "") for agent in agents())
    assert {*mdatp.STATES, *mdatp.EVENTS} - set(re.findall(r"\w+", broken)) == set()


def test_every_finding_of_the_table_is_documented():
    pages = [CHECKOUT / f"docs/findings-{name}.md" for name in ("health", "config")]
    documented = {found for page in pages for found in re.findall(r"`(\w+)`", page.read_text(encoding="utf-8"))}
    named = {agent["rig"].get(key, "") for agent in agents() for key in ("finds", "health", "role")}
    assert {name for name in named if name and " " not in name} - documented == set()


def test_every_scenario_is_documented():
    page = (CHECKOUT / "docs/testing.md").read_text(encoding="utf-8")
    for file in (CHECKOUT / "molecule").glob("*/molecule.yml"):
        assert f"| `{file.parent.name}` |" in page


@pytest.mark.parametrize("turn", range(4))
def test_each_commit_begins_with_another_scenario(rig, turn):
    names = ["a", "b", "c"]
    assert rig.rotated(names, turn)[0] == names[turn % 3]
    assert sorted(rig.rotated(names, turn)) == names


@pytest.mark.parametrize(("scenarios_that_fit", "spare"), [(0, -1), (1, 0), (2, 0)])
def test_only_scenarios_that_can_end_in_time_are_started(rig, monkeypatch, capsys, scenarios_that_fit, spare):
    now = [1000.0]
    ran = []

    def molecule(_verb, scenario):
        now[0] += rig.SCENARIO_SECONDS
        ran.append(scenario)
        return True

    monkeypatch.setattr(rig.time, "monotonic", lambda: now[0])
    for name, stub in {"prepare": lambda: None, "prepare_machine": lambda: None, "molecule": molecule}.items():
        monkeypatch.setattr(rig, name, stub)
    limit = rig.SCENARIO_SECONDS * max(1, scenarios_that_fit) + spare
    monkeypatch.setattr("sys.argv", ["molecule_rig.py", "--within", str(limit)])
    # With this variable, .ci/run would also report these scenarios as skipped.
    monkeypatch.delenv("MDE_SKIPPED", raising=False)
    assert rig.main() == 0
    assert len(ran) == scenarios_that_fit
    left_out = set(rig.SCENARIOS) - set(ran)
    messages = capsys.readouterr().err
    assert all(f"SKIPPED molecule scenario {name}:" in messages for name in left_out)
