"""The schema is valid and fully described, and each of its keywords has a translation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.mde.offline.plugins.plugin_utils._managed import json_schema, structure, validate, versions
from jsonschema import Draft202012Validator

CHECKOUT = Path(__file__).resolve().parents[3]
KEYS = [pytest.param(place, node, id=".".join(place)) for place, node in json_schema.walk()]


def test_it_is_a_schema_with_a_name():
    loaded = json_schema.load()
    Draft202012Validator.check_schema(loaded)
    assert loaded["$schema"].endswith("2020-12/schema")
    assert loaded["$id"].endswith("/plugins/plugin_utils/_managed/schema/mdatp_managed.schema.json")
    assert loaded["title"]


@pytest.mark.parametrize(("place", "node"), KEYS)
def test_every_key_is_described(place, node):
    assert node["description"].strip().endswith(".")
    if "exclusions" not in place or place[-1] == "exclusions":
        assert node.get("x-source")
    if "default" in node:
        assert Draft202012Validator({**node, "$defs": json_schema.load()["$defs"]}).is_valid(node["default"])
    if node["type"] == "object":
        assert node["additionalProperties"] is False
    for name in ("x-minimum-agent-version", "x-deprecated-since"):
        assert versions.parse(node.get(name, "1.1.1"))
    for value, since in node.get("x-value-minimum-agent-version", {}).items():
        assert value in node["enum"] and versions.parse(since)


def keywords(node):
    """The keywords that can fail, without those of conditions."""
    for name, below in node.items() if isinstance(node, dict) else ():
        if name in ("properties", "patternProperties", "$defs"):
            for item in below.values():
                yield from keywords(item)
        elif name in ("items", "then"):
            yield from keywords(below)
        elif name == "allOf":
            for item in below:
                yield from keywords(item)
        elif name in Draft202012Validator.VALIDATORS and name not in ("if", "$ref"):
            yield name


def test_every_keyword_has_words():
    assert set(keywords(json_schema.load())) - {"additionalProperties", "not"} == set(structure.TRANSLATIONS)


def test_names_of_no_module_and_no_folder_collide():
    """Ansible's loader prefers a folder to a module of the same name."""
    package = Path(validate.__file__).parent
    folders = {entry.name for entry in package.iterdir() if entry.is_dir()}
    assert not folders & {entry.stem for entry in package.glob("*.py")}


def test_pages_are_fresh():
    tool = CHECKOUT / "tools" / "render_managed_docs.py"
    done = subprocess.run([sys.executable, str(tool), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", ["managed-configuration.md", "findings-config.md"])
def test_pages_name_everything(page):
    text = (CHECKOUT / "docs" / page).read_text(encoding="utf-8")
    if page.startswith("findings"):
        assert all(f"| `{rule_id}` | {rule.severity} |" in text for rule_id, rule in validate.RULES.items())
    else:
        for place, node in json_schema.walk():
            name = ".".join(place[1:]).replace(".[]", "[]")
            assert node["type"] == "object" or len(place) == 1 or f"| `{name}` | {node['type']}" in text, name


def test_without_jsonschema_it_says_what_to_install():
    program = (
        "import sys; sys.modules['jsonschema'] = None\n"
        "from ansible_collections.mde.offline.plugins.plugin_utils._managed import validate\n"
        "try:\n    validate.config_findings({})\n"
        "except validate.MissingLibraryError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(CHECKOUT / ".cache")},
    )
    assert "jsonschema" in done.stdout and "pip install" in done.stdout, done.stderr


def test_an_editor_key_is_allowed_by_the_schema_and_reported_by_the_rules():
    config = {"$schema": json_schema.load()["$id"]}
    assert json_schema.validator().is_valid(config)
    assert "editor_key" in {finding["id"] for finding in validate.config_findings(config)}
    assert json.loads(json_schema.SCHEMA_FILE.read_text(encoding="utf-8"))["additionalProperties"] is False
