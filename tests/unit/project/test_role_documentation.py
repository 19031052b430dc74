"""The defaults, the argument_specs and the README of a role document the same variables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tools.collection_tree import CHECKOUT

ROLES = sorted(path.parent.parent for path in (CHECKOUT / "roles").glob("*/tasks/main.yml"))

each_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


def load(path: Path) -> dict:
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.is_file() else {}


def entry_points(role: Path) -> dict[str, dict]:
    return load(role / "meta" / "argument_specs.yml").get("argument_specs", {})


def options(role: Path) -> dict[str, dict]:
    found: dict[str, dict] = {}
    for entry in entry_points(role).values():
        found.update(entry.get("options") or {})
    return found


@each_role
def test_every_default_is_described_with_its_value(role):
    described = options(role)
    for name, value in load(role / "defaults" / "main.yml").items():
        if name.startswith("__"):
            continue
        assert name in described, f"{name} has a default and no description in meta/argument_specs.yml"
        if not (isinstance(value, str) and "{{" in value):
            assert described[name].get("default") == value, f"{name}: argument_specs and defaults differ"


@each_role
def test_every_option_with_a_default_has_it_in_defaults(role):
    # Ansible validates variables against the specs, but does not apply the defaults in them.
    defaults = load(role / "defaults" / "main.yml")
    assert [name for name, option in options(role).items() if "default" in option and name not in defaults] == []


@each_role
def test_every_option_has_a_type_and_a_description(role):
    described = options(role).items()
    assert [name for name, option in described if not option.get("description") or "type" not in option] == []


@each_role
def test_public_variables_carry_the_roles_name(role):
    # The playbooks' variables, which the role takes for them.
    prefix = "mde_" if role.name == "internal_playbook" else f"{role.name}_"
    assert [name for name in options(role) if not name.startswith(prefix)] == []


@each_role
def test_every_entry_point_has_tasks(role):
    assert "main" in entry_points(role)
    assert [name for name in entry_points(role) if not (role / "tasks" / f"{name}.yml").is_file()] == []


@each_role
def test_readme_names_every_public_variable(role):
    readme = (role / "README.md").read_text(encoding="utf-8")
    assert [name for name in options(role) if not re.search(rf"\b{name}\b", readme)] == []


@each_role
def test_facts_are_read_from_ansible_facts_only(role):
    # Injected facts such as ansible_os_family stop existing in ansible-core 2.24.
    injected = re.compile(r"\bansible_(os_family|distribution\w*|hostname|fqdn|default_ipv4|architecture|kernel|env)\b")
    texts = {path: path.read_text(encoding="utf-8") for path in role.rglob("*") if path.suffix in (".yml", ".j2")}
    assert {path.name: found.group() for path, text in texts.items() if (found := injected.search(text))} == {}
