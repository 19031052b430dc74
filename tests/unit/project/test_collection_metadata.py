"""Metadata that is in several files of the collection is the same everywhere."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import yaml

from tools.collection_tree import CHECKOUT, checkout_files

GALAXY = yaml.safe_load((CHECKOUT / "galaxy.yml").read_text(encoding="utf-8"))
RUNTIME = yaml.safe_load((CHECKOUT / "meta" / "runtime.yml").read_text(encoding="utf-8"))
PLUGIN_FILES = sorted(name for name in checkout_files() if re.match(r"plugins/.*\.(py|yml)$", name))
SHARED = [name for name in PLUGIN_FILES if re.match(r"plugins/(module_utils|plugin_utils)/.*\.py$", name)]


def modules() -> list[str]:
    """The modules for users. Defaults that they set for an action group must not reach the modules of the roles."""
    names = {path.stem for path in (CHECKOUT / "plugins" / "modules").glob("[a-z]*.py")}
    return sorted(names - {"endpoint_verdict", "role_variables"})


def test_action_groups_contain_the_modules_in_alphabetical_order():
    groups = RUNTIME["action_groups"]
    assert groups["all"] == modules()
    # Defaults of this group are settings of a mirror, which the installation of the command does not take.
    assert groups["mirror"] == [name for name in modules() if name.startswith("mirror_") and name != "mirror_command"]
    assert groups["endpoint"] == [name for name in modules() if not name.startswith("mirror_")]
    assert set(groups["endpoint_role"]) < set(groups["endpoint"])


def test_the_version_is_the_same_everywhere():
    engine = importlib.import_module("ansible_collections.mde.offline.plugins.module_utils._mirror").VERSION
    project = re.search(r'^version = "(.+)"$', (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert project is not None
    assert {GALAXY["version"], engine, project.group(1)} == {GALAXY["version"]}


def test_supported_core_has_a_lower_bound_only():
    assert re.fullmatch(r">=\d+\.\d+\.\d+", RUNTIME["requires_ansible"])


def test_plugin_files_name_their_licence():
    wanted = (
        "Copyright (c) The mde.offline contributors",
        "GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)",
        "SPDX-License-Identifier: GPL-3.0-or-later",
    )
    lacking = []
    for name in PLUGIN_FILES:
        text = (CHECKOUT / name).read_text(encoding="utf-8")
        head = "\n".join(text.splitlines()[:20])
        # An empty `__init__.py` only makes its folder a package.
        if text and not all(line in head for line in wanted):
            lacking.append(name)
    assert lacking == []


def _python_files(place: Path) -> list[Path]:
    return [place] if place.is_file() else list(place.glob("*.py"))


def test_shared_code_is_marked_as_private():
    # Shared code without an underscore and this note would be public API for other collections.
    folders = {str(Path(*Path(name).parts[:3])) for name in SHARED}
    assert [folder for folder in sorted(folders) if not Path(folder).name.startswith("_")] == []
    marked = {
        folder: any("rivate to the" in path.read_text(encoding="utf-8") for path in _python_files(CHECKOUT / folder))
        for folder in sorted(folders)
    }
    assert [folder for folder, is_marked in marked.items() if not is_marked] == []


def test_changelog_fragments_are_accepted():
    lint = subprocess.run(
        [sys.executable, "-m", "antsibull_changelog", "lint"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert lint.returncode == 0, lint.stdout + lint.stderr


def test_make_help_lists_every_target():
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY:(.*)$", makefile, re.M)
    assert phony is not None
    shown = subprocess.run(["make", "help"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    listed = re.findall(r"^  ([a-z/-]+) +\S", shown, re.M)
    assert sorted(listed) == sorted(phony.group(1).split())
