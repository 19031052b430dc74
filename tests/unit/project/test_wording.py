"""The wording check: each rule finds its refused wording, and lets the nearest accepted wording pass."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from tools.collection_tree import CHECKOUT

# The tools import each other by their plain names, as they run as programs.
sys.path.insert(0, str(CHECKOUT / "tools"))
wording = importlib.import_module("wording")
sys.path.remove(str(CHECKOUT / "tools"))

# Rule: a line that it refuses, and a line that it lets pass.
CASES = {
    "told": (
        "# The user is told the reason.",
        "# The default holds unless told otherwise; the two cannot be told apart.",
    ),
    "stranger": ("# The folder is a stranger's.", "# strange-looking names are quoted"),
    "mend": ("# The next sync mends the link.", "# Amend the commit; commend the author."),
    "astray": ("# Links that lead astray are removed.", "# The stray file is removed."),
    "shelf": ("# The package is on the shelf.", "# Use an off-the-rack server."),
    "card": ("# Read the card of the release.", "# A wildcard matches all; discard the rest."),
    "scraps": ("# Remove the scraps of the last run.", "# Scrape the metrics."),
    "disown": ("# Disown the release.", "# The folder is owned by root."),
    "glance": ("# A glance at the versions is enough.", "# The glancing angle is 3 degrees."),
    "foreseen": ("# The foreseen outcome is reported.", "# A foreseeable outcome is reported."),
    "door": ("# The door to the engine.", "# The outdoor sensor is off."),
    "papers": ("# The role and its papers.", "# Print the paper size."),
    "shall": ("# The sync shall not wait.", "# A shallow clone is enough."),
    "tells of": ("# The page tells of every finding.", "# The page tells whether the sync failed."),
    "of ours": ("# A script of ours does this.", "# One of our scripts runs for hours."),
    "stands": ("# The key stands twice.", "# The simulator stands in for the agent."),
    "is no": ("# The path is no file.", "# There is no file, and the channel is no longer held."),
    "except from": ("# Except the mirror from the proxy.", "# All packages except those from Microsoft are kept."),
    "behind": ("# Bytes behind its end are ignored.", "# The channel is two hours behind the source."),
}


def test_every_rule_has_a_case():
    assert list(CASES) == [rule.id for rule in wording.RULES]


@pytest.mark.parametrize("rule", CASES)
def test_a_refused_line_is_found_with_the_better_word(rule):
    refused, _accepted = CASES[rule]
    (better,) = (known.better for known in wording.RULES if known.id == rule)
    for hits in (wording.python_hits(refused), wording.text_hits(refused)):
        assert [(line, hint) for line, _text, hint in hits] == [(1, better)]


@pytest.mark.parametrize("rule", CASES)
def test_an_accepted_line_passes(rule):
    _refused, accepted = CASES[rule]
    assert wording.python_hits(accepted) == []
    assert wording.text_hits(accepted) == []


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ('"""First line.\n\nThe link is\nastray here."""\n', [4]),
        ("# The user is\n# told the reason.\n", [2]),
        ("# A path that is\n# no file is refused.\n", [1]),
        ("def f():\n    raise ValueError('a path that is told')\n", [2]),
        ("def f(x):\n    raise ValueError(f'{x} is told')\n", [2]),
        ("def _told(x):\n    return x\n", [1]),
        ("class ShelfStore:\n    pass\n", [1]),
        ("x = {'told': 1}\n", []),
        ("told_apart = untold = retold = 1\n", [1]),
        ("# The path is\nx = 'no file'\n", []),
    ],
)
def test_comments_strings_and_names_of_python_are_read(source, lines):
    assert [line for line, _text, _better in wording.python_hits(source)] == lines


def test_names_in_other_files_are_read():
    found = wording.text_hits("- name: Read the state\n  register: __mirror_told\n")
    assert [(line, text) for line, text, _better in found] == [(2, "__mirror_told")]


def test_the_command_prints_file_line_and_the_better_word(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Title\n\nThe user is told why.\n", encoding="utf-8")
    command = [sys.executable, str(CHECKOUT / "tools" / "wording.py"), str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == f"{page}:3: 'told': write reported, logged, shown, given\n"
    page.write_text("# Title\n\nThe reason is shown.\n", encoding="utf-8")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
