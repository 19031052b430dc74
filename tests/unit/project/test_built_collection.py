"""The tarball that users install: it contains everything that users call, documented, and no development files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tools import try_tarball
from tools.collection_tree import CHECKOUT, checkout_files

SHIPPED = {
    *("CHANGELOG.rst", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "LICENSE", "README.md", "FILES.json", "MANIFEST.json"),
    *("changelogs", "docs", "extensions", "meta", "playbooks", "plugins", "roles"),
}
CONTENT = ("plugins/", "roles/", "playbooks/", "meta/")
MODULES = sorted(path.stem for path in (CHECKOUT / "plugins" / "modules").glob("[a-z]*.py"))
ROLES = sorted(path.parent.parent.name for path in (CHECKOUT / "roles").glob("*/tasks/main.yml"))
EVERY_MODULE_SAYS = {"check_mode", "diff_mode", "platform", "idempotent"}


@pytest.fixture(scope="module")
def tarball(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("build")
    build = [sys.executable, "-m", "ansible.cli.galaxy", "collection", "build", "--output-path", str(out)]
    done = subprocess.run([*build, str(CHECKOUT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("mde-offline-*.tar.gz")
    return built


@pytest.fixture(scope="module")
def elsewhere(tarball, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("elsewhere")
    try_tarball.install(tarball, place)
    return place


@pytest.fixture(scope="module")
def module_docs(elsewhere) -> dict:
    return try_tarball.documentation(elsewhere, "module", [f"mde.offline.{name}" for name in MODULES])


def test_contains_no_development_files(tarball):
    unexpected = {name.split("/")[0] for name in try_tarball.members(tarball)} - SHIPPED
    assert unexpected == set()
    assert [name for name in try_tarball.members(tarball) if name.endswith(".pyc") or "__pycache__" in name] == []


def test_contains_everything_that_users_call(tarball):
    written = {name for name in checkout_files() if name.startswith(CONTENT)}
    assert written
    assert written - set(try_tarball.members(tarball)) == set()


def test_everything_is_found_and_documented_after_installation(tarball, elsewhere):
    found = try_tarball.callables(tarball)
    assert found["module"] == [f"mde.offline.{name}" for name in MODULES]
    assert found["role"] == [f"mde.offline.{name}" for name in ROLES]
    assert try_tarball.troubles(elsewhere, found) == []


@pytest.mark.parametrize("name", MODULES)
def test_module_documentation_is_whole(name, module_docs):
    described = module_docs[f"mde.offline.{name}"]
    doc = described["doc"]
    assert doc["version_added"]
    assert set(doc["attributes"]) >= EVERY_MODULE_SAYS
    # Defaults that users set for an action group must not reach the modules of the roles.
    assert ("action_group" in doc["attributes"]) == (name not in ("endpoint_verdict", "role_variables"))
    tasks = yaml.safe_load(described["examples"])
    assert any(f"mde.offline.{name}" in task for task in tasks), "no example calls the module by its full name"


@pytest.mark.parametrize("name", MODULES)
def test_every_return_value_is_documented(name, module_docs):
    lacking = []

    def look(values: dict, where: str, top: bool) -> None:
        for key, value in values.items():
            wanted = {"description", "type", *({"returned"} if top else set())}
            if not value.get("contains"):
                wanted.add("sample")
            lacking.extend(f"{where}{key}: {field}" for field in sorted(wanted) if value.get(field) is None)
            look(value.get("contains") or {}, f"{where}{key}.", False)

    values = module_docs[f"mde.offline.{name}"]["return"]
    assert values
    look(values, "", True)
    assert lacking == []


@pytest.mark.parametrize("name", ROLES)
def test_role_is_described(name, elsewhere):
    described = try_tarball.documentation(elsewhere, "role", [f"mde.offline.{name}"])[f"mde.offline.{name}"]
    assert described["entry_points"]["main"]["short_description"]
