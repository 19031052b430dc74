"""All code for endpoints can be compiled by the oldest supported Pythons."""

from __future__ import annotations

import re
import subprocess

import pytest

from tools import interpreters
from tools.collection_tree import CHECKOUT

ENDPOINT_UTILS = sorted((CHECKOUT / "plugins" / "module_utils" / "_endpoint").rglob("*.py"))
ENDPOINT_MODULES = sorted(
    path
    for path in (CHECKOUT / "plugins" / "modules").glob("*.py")
    if "module_utils._endpoint" in path.read_text(encoding="utf-8")
)
ENDPOINT_FILES = ENDPOINT_UTILS + ENDPOINT_MODULES
READ_ALL = """
import io, sys
for name in sys.argv[1:]:
    with io.open(name, "rb") as handle:
        compile(handle.read(), name, "exec")
"""


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.8"])
def test_old_pythons_compile_the_endpoint_code(version):
    python = interpreters.find(version)
    if python is None:
        pytest.skip(f"no Python {version} on PATH or in pyenv: the endpoint code was not compiled with it")
    read = [str(python), "-c", READ_ALL, *map(str, ENDPOINT_FILES)]
    done = subprocess.run(read, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_endpoint_files_enable_python_3_behaviour_on_python_2():
    future = re.compile(r"^from __future__ import .*absolute_import.*division.*print_function", re.M)
    classes = re.compile(r"^__metaclass__ = type$", re.M)
    texts = {path: path.read_text(encoding="utf-8") for path in ENDPOINT_FILES}
    wrong = [path.name for path, text in texts.items() if text and not (future.search(text) and classes.search(text))]
    assert wrong == []


def test_ruff_suggests_no_newer_syntax_for_endpoint_modules():
    settings = (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r'^"plugins/modules/\{(.+)\}\.py" = \["UP"', settings, re.M)
    assert listed is not None
    assert {path.stem for path in ENDPOINT_MODULES} <= set(listed.group(1).split(","))
