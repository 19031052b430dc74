"""Which part of the collection may import which, read from the source."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Callable

import pytest

from tools.collection_tree import CHECKOUT

OURS = "ansible_collections.mde.offline.plugins"
PARTS = {
    "_mirror": f"{OURS}.module_utils._mirror",
    "_endpoint": f"{OURS}.module_utils._endpoint",
    "_managed": f"{OURS}.plugin_utils._managed",
    "_fleet": f"{OURS}.plugin_utils._fleet",
    "_roles": f"{OURS}.plugin_utils._roles",
}
# What endpoint code may import from Ansible: it exists in all versions from 2.16 on, and none of it is deprecated.
ENDPOINT_FROM_ANSIBLE = ("ansible.module_utils.basic", "ansible.module_utils.common.text.converters")
PYTHON2_NAMES = {"ConfigParser", "Queue", "StringIO", "__builtin__", "httplib", "urllib2", "urlparse"}


def files_of(folder: str) -> list[Path]:
    return sorted((CHECKOUT / "plugins" / folder).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """The dotted names of everything that a file imports, with relative imports resolved."""
    package = ["ansible_collections", "mde", "offline", *path.relative_to(CHECKOUT).parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # In `from package import name`, the name may be a module of the package.
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def below(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def is_standard(name: str) -> bool:
    return name.split(".")[0] in sys.stdlib_module_names | {"__future__"}


MODULES = files_of("modules")
# These two document an action plugin and have no code.
MODULES_WITH_CODE = [path for path in MODULES if path.stem not in ("endpoint_verdict", "role_variables")]
SHELL_FOLDERS = ("action", "filter", "test", "lookup")
SHELLS = [path for folder in SHELL_FOLDERS for path in files_of(folder)]
EVERYTHING = [*MODULES, *SHELLS, *files_of("module_utils"), *files_of("plugin_utils")]


def offenders(paths: list[Path], wrong: Callable[[str], bool]) -> dict[str, list[str]]:
    """The files that import something that they must not, with these imports."""
    found = {str(path.relative_to(CHECKOUT)): sorted(filter(wrong, imports(path))) for path in paths}
    return {path: names for path, names in found.items() if names}


@pytest.mark.parametrize("part", PARTS)
def test_parts_do_not_import_each_other(part):
    others = [dotted for name, dotted in PARTS.items() if name != part]
    paths = files_of(f"module_utils/{part}") + files_of(f"plugin_utils/{part}")
    assert paths
    assert offenders(paths, lambda name: below(name, *others)) == {}


def test_mirror_engine_needs_only_the_standard_library():
    allowed = PARTS["_mirror"]
    wrong = offenders(files_of("module_utils/_mirror"), lambda name: not is_standard(name) and not below(name, allowed))
    assert wrong == {}


def test_endpoint_code_needs_only_the_standard_library_and_the_stable_core():
    allowed = (PARTS["_endpoint"], *ENDPOINT_FROM_ANSIBLE, *PYTHON2_NAMES)
    paths = files_of("module_utils/_endpoint")
    assert offenders(paths, lambda name: not is_standard(name) and not below(name, *allowed)) == {}


def test_modules_need_only_what_ansible_copies_to_hosts():
    allowed = (f"{OURS}.module_utils", *ENDPOINT_FROM_ANSIBLE)
    assert offenders(MODULES, lambda name: not is_standard(name) and not below(name, *allowed)) == {}


@pytest.mark.parametrize("path", MODULES_WITH_CODE, ids=lambda path: path.stem)
def test_a_module_imports_exactly_one_part(path):
    assert len({part for part, dotted in PARTS.items() for name in imports(path) if below(name, dotted)}) == 1


def test_shared_code_does_not_import_modules_or_plugins():
    homes = [f"{OURS}.{folder}" for folder in ("modules", *SHELL_FOLDERS)]
    assert offenders(EVERYTHING, lambda name: below(name, *homes)) == {}


def test_code_for_hosts_does_not_import_code_for_the_controller():
    assert offenders(files_of("module_utils"), lambda name: below(name, f"{OURS}.plugin_utils")) == {}


def test_nothing_that_future_versions_of_ansible_core_remove_is_imported():
    gone = (
        "ansible.module_utils._text",
        "ansible.module_utils.six",
        "ansible.module_utils.common._collections_compat",
        "ansible.module_utils.basic.get_platform",
        "ansible.module_utils.basic.load_platform_subclass",
        "ansible.module_utils.basic.get_all_subclasses",
    )
    assert offenders(EVERYTHING, lambda name: below(name, *gone)) == {}
