"""docs/testing.md lists the tests of every module, role, filter and part, the shared files, and no missing path."""

from __future__ import annotations

import re

from tools.collection_tree import CHECKOUT, checkout_files

PAGE = (CHECKOUT / "docs" / "testing.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return re.split(r"\n##+ ", PAGE.partition(f"\n### {title}\n")[2])[0]


TABLE = section("From the code to its tests")


def listed() -> set[str]:
    found = set()
    for line in TABLE.splitlines():
        cells = line.split("|")[1:]
        for folder, cell in zip(("unit", "integration"), cells[1:]):
            found |= {f"tests/{folder}/{name}" for name in re.findall(r"`([\w/]+\.py)`", cell)}
    return found


def test_every_test_is_listed_and_every_listed_test_exists():
    tests = {name for name in checkout_files() if re.match(r"tests/(unit|integration)/.*test_\w+\.py$", name)}
    assert listed() ^ tests == set()


def test_every_module_role_filter_and_part_has_a_row():
    first_cells = " ".join(line.split(" | ")[0] for line in TABLE.splitlines())
    names = set(re.findall(r"`(\w+)[`/]", first_cells))
    patterns = (
        r"plugins/modules/([a-z]\w+)\.py",
        r"plugins/filter/(\w+)\.yml",
        r"roles/(\w+)/tasks/main\.yml",
        r"plugins/\w+_utils/(_(?!mirror_module)\w+)/",
    )
    existing = {
        found.group(1)
        for name in checkout_files()
        for pattern in patterns
        if (found := re.match(pattern, name)) is not None
    }
    assert existing - names == set()


def test_every_shared_file_is_listed():
    existing = {name for name in checkout_files() if re.match(r"tests/support/\w+\.py$", name)}
    listed_files = {f"tests/support/{name}" for name in re.findall(r"`(\w+\.py)`", section("What the tests share"))}
    assert listed_files - {"tests/support/conftest.py"} == existing


def test_each_old_path_is_gone_and_each_new_path_exists():
    files = checkout_files()
    rows = [line.split("|")[1:3] for line in section("From old paths to new paths").splitlines() if "| `" in line]
    assert rows
    for row in rows:
        (old,), new = (re.findall(r"`(tests/[^`]+)`", cell) for cell in row)
        assert [name for name in files if name == old or (old.endswith("/") and name.startswith(old))] == []
        assert new
        assert [path for path in new if not (CHECKOUT / path).exists()] == []
