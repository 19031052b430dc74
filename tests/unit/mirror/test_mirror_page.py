"""docs/mirror.md lists exactly the settings, error codes, outcomes, exit statuses and commands that exist."""

from __future__ import annotations

import ast
import json
import re

import pytest
from ansible_collections.mde.offline.plugins.module_utils._mirror import cli, progress, settings

from tools.collection_tree import CHECKOUT

PAGE = (CHECKOUT / "docs" / "mirror.md").read_text(encoding="utf-8")
ENGINE = CHECKOUT / "plugins" / "module_utils" / "_mirror"


def section(title):
    """The text below a heading, up to the next one of the same or a higher rank."""
    start = re.search(rf"^(#+) {re.escape(title)}\n", PAGE, re.MULTILINE)
    assert start, f"there is no section {title!r}"
    rest = PAGE[start.end() :]
    end = re.search(rf"^#{{1,{len(start.group(1))}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def rows(title):
    """The cells of the tables in a section, without their heads."""
    found = []
    for line in section(title).splitlines():
        if line.startswith("| ") and not re.match(r"\| (---|[A-Z])", line):
            found.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return found


def names(title):
    return [row[0].strip("`") for row in rows(title)]


def known_settings():
    tables = (("", settings._TOP), ("verify.", settings._VERIFY), ("source.", settings._SOURCE))
    tables += (("source.script.", settings._SCRIPT), ("signing.", settings._SIGNING))
    defaults = {prefix + key: default for prefix, table in tables for key, (_check, default) in table.items()}
    objects = ("verify", "source", "source.script", "signing")
    return {key: default for key, default in defaults.items() if key not in objects}


def test_the_page_has_every_setting_with_its_default():
    listed = {row[0].strip("`"): json.loads(row[2].strip("`")) for row in rows("Settings")}
    assert listed == known_settings()
    assert len(names("Settings")) == len(listed)


def raised_codes():
    """The codes of all errors that the engine can make, read from its sources."""
    found = set()
    for path in ENGINE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if called in ("MirrorError", "__init__") and isinstance(node.args[0].value, str):
                    found.add(node.args[0].value)
    return found


def test_the_page_has_every_error_code():
    codes = names("Error codes")
    assert sorted(codes) == sorted(raised_codes())


@pytest.mark.parametrize("title", ["Error codes", "Settings", "Outcomes", "Exit status", "Commands"])
def test_no_row_of_the_page_is_cut_short(title):
    assert rows(title)
    for row in rows(title):
        assert all(row), row


def test_the_page_has_every_outcome():
    assert names("Outcomes") == list(progress._WORDS)


def test_the_page_has_every_exit_status():
    assert [int(status) for status in names("Exit status")] == [cli.DONE, cli.FAILED, cli.USAGE, cli.LOCKED, 130]


def test_the_page_has_every_command(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    verbs = set(re.findall(r"^    (\w+) ", capsys.readouterr().out, re.MULTILINE))
    listed = {word for row in rows("Commands") for word in re.findall(r"`([a-z]+)(?: [A-Z -]+)?`", row[0])}
    assert listed == verbs


def test_the_page_has_every_option_of_a_command():
    subparsers = next(action for action in cli._parser(None)._actions if isinstance(action.choices, dict))
    known = {word for verb in subparsers.choices.values() for word in verb._option_string_actions if word[:2] == "--"}
    assert set(re.findall(r"--[a-z][a-z-]+", section("Commands"))) | {"--help"} == known


@pytest.mark.parametrize("anchor", re.findall(r"\]\(#([^)]+)\)", PAGE))
def test_links_within_the_page_lead_somewhere(anchor):
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", PAGE, re.M)
    }
    assert anchor in anchors
