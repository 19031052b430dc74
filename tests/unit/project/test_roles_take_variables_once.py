"""The tasks of a role read variables through the mapping of role_variables, never the public variables themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment, nodes

from tools.collection_tree import CHECKOUT

ROLES = sorted(path.parent for path in (CHECKOUT / "roles").glob("*/tasks"))

each_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
# Values of these keys are expressions without braces.
CONDITIONS = {"when", "that", "until", "changed_when", "failed_when", "var"}
# `{{ __role.update }}` is the method of the mapping, not the variable.
METHODS = {name for name in dir(dict) if not name.startswith("_")}
ENVIRONMENT = Environment()


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def public_variables() -> set[str]:
    entries = [entry for role in ROLES for entry in load_specs(role).values()]
    return {name for entry in entries for name in entry.get("options") or {}}


def load_specs(role: Path) -> dict[str, Any]:
    path = role / "meta" / "argument_specs.yml"
    return load(path)["argument_specs"] if path.is_file() else {}


def expressions(value: Any, key: str = "") -> Iterator[str]:
    """Every template below a value of YAML."""
    if isinstance(value, dict):
        for name, below in value.items():
            yield from expressions(below, str(name).rsplit(".", 1)[-1])
    elif isinstance(value, list):
        for below in value:
            yield from expressions(below, key)
    elif isinstance(value, str):
        yield f"{{{{ {value} }}}}" if key in CONDITIONS and "{{" not in value else value


def templates(role: Path) -> Iterator[tuple[Path, str]]:
    """Every template of a role, with its file."""
    for folder in ("tasks", "handlers", "vars", "defaults"):
        for path in sorted((role / folder).rglob("*.yml")):
            for text in expressions(load(path)):
                yield path, text
    for path in sorted((role / "templates").rglob("*.j2")):
        yield path, path.read_text(encoding="utf-8")


def parsed(text: str) -> nodes.Template:
    # In Ansible's templates, a backslash is an ordinary character.
    return ENVIRONMENT.parse(text.replace("\\", "\\\\"))


def reads(text: str) -> Iterator[str]:
    """The names of variables that a template reads, and of variables that it looks up by a name in quotes."""
    tree = parsed(text)
    yield from (name.name for name in tree.find_all(nodes.Name))
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Name) and call.node.name in ("lookup", "query", "q"):
            yield from (argument.value for argument in call.args if isinstance(argument, nodes.Const))


def shadowed(text: str) -> Iterator[str]:
    """Variables whose name is also the name of a method of the mapping, so that a template would get the method."""
    for attribute in parsed(text).find_all(nodes.Getattr):
        if (
            isinstance(attribute.node, nodes.Name)
            and attribute.node.name.startswith("__")
            and attribute.attr in METHODS
        ):
            called = re.search(rf"\b{attribute.node.name}\.{attribute.attr}\(", text)
            if not called:
                yield f"{attribute.node.name}.{attribute.attr}"


def direct_reads(role: Path) -> list[str]:
    public = public_variables()
    found = [(path, name) for path, text in templates(role) for name in sorted(set(reads(text)) & public)]
    return [f"{path.relative_to(role)}: {name}" for path, name in found]


@each_role
def test_public_variables_are_read_once(role: Path) -> None:
    assert direct_reads(role) == []


@each_role
def test_each_entry_point_begins_with_its_variables(role: Path) -> None:
    for entry_point in load_specs(role):
        take, refuse = load(role / "tasks" / f"{entry_point}.yml")[:2]
        options = take["mde.offline.role_variables"] or {}
        assert options.get("entry_point", "main") == entry_point
        assert take["no_log"] is True
        if role.name == "endpoint":
            # One task is the guard and chooses the state, because each task costs time on the controller for each host.
            refuse = refuse["block"][0]
            assert refuse["ansible.builtin.include_tasks"].startswith("{{ 'invalid' if __endpoint_taken.problems")
        else:
            assert refuse["ansible.builtin.assert"]["that"] == f"not {take['register']}.problems"
        assert take["tags"] == refuse["tags"] == ["always"]


@each_role
def test_names_that_are_methods_are_read_by_their_key(role: Path) -> None:
    assert [f"{path.name}: {name}" for path, text in templates(role) for name in shadowed(text)] == []


def test_a_host_without_changes_loads_no_filter_of_the_collection() -> None:
    """Ansible loads all filters of the collection for a template with one of them, in each task and for each host."""
    role = CHECKOUT / "roles" / "endpoint"
    variables = load(role / "vars" / "main.yml")
    texts = [text for name in ("main", "configure", "verify") for text in expressions(load(role / f"tasks/{name}.yml"))]
    seen: set[str] = set()
    for text in texts:
        assert not re.search(r"[|]\s*mde[.]offline[.]", text), text
        new = set(reads(text)) & set(variables) - seen
        seen |= new
        texts += [below for name in sorted(new) for below in expressions(variables[name])]
    assert "__endpoint_settings" in seen


def test_reads_are_seen() -> None:
    assert set(reads("{{ a.b | default(c) }}{% if d is match('x') %}{{ lookup('vars', 'e') }}{% endif %}")) >= set(
        "acde"
    )
    assert list(expressions({"when": ["a"], "x": {"that": "b", "c": "{{ d }}"}})) == ["{{ a }}", "{{ b }}", "{{ d }}"]
    assert list(shadowed("{{ __role.update }}")) == ["__role.update"]
    assert list(shadowed("{{ __role.items() }} {{ __role['update'] }}")) == []
