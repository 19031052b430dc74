"""Fixtures with the Pythons of old endpoints, and with the last ansible-core that supports them."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.old_pythons.plays import Plays
from tools import interpreters

ENDPOINT_PYTHONS = ("2.7", "3.6")
CORE = "ansible-core==2.16.*"
# The Pythons that ansible-core 2.16 supports on the controller.
CONTROLLER_PYTHONS = ("3.11", "3.12", "3.10")
CACHE = Path(__file__).resolve().parents[3] / ".cache"


@pytest.fixture(scope="session")
def core_2_16() -> Path:
    """The ansible-playbook of ansible-core 2.16 in its own virtual environment, which is created once per checkout."""
    folder = CACHE / "venvs" / "core-2.16"
    command = folder / "bin" / "ansible-playbook"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "core-2.16.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ready = folder / "ready"
        if not ready.exists():
            shutil.rmtree(folder, ignore_errors=True)
            problem = _make_venv(folder)
            if problem:
                pytest.skip(f"NOT TESTED on old Pythons: no {CORE} could be installed: {problem}")
            ready.touch()
    return command


def _make_venv(folder: Path) -> str | None:
    """Creates the virtual environment; returns the reason of a failure, or None."""
    version = "{}.{}".format(*sys.version_info)
    python = Path(sys.executable) if version in CONTROLLER_PYTHONS else None
    python = python or next(filter(None, map(interpreters.find, CONTROLLER_PYTHONS)), None)
    if python is None:
        return f"it requires one of the Pythons {', '.join(CONTROLLER_PYTHONS)}, and none is installed"
    packages = [CORE, "jsonschema>=4.18"]
    steps = [[str(python), "-m", "venv", str(folder)], [str(folder / "bin" / "pip"), "install", "--quiet", *packages]]
    uv = shutil.which("uv")
    if uv:
        steps = [[uv, "venv", "--quiet", "--python", str(python), str(folder)]]
        steps += [[uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), *packages]]
    for step in steps:
        try:
            done = subprocess.run(step, capture_output=True, text=True, timeout=1200, check=False)
        except subprocess.TimeoutExpired:
            return f"{' '.join(step)}: the command did not end"
        if done.returncode != 0:
            return f"{' '.join(step)}: {(done.stderr or done.stdout).strip()[-300:]}"
    return None


@pytest.fixture(params=ENDPOINT_PYTHONS)
def old_python(request: pytest.FixtureRequest) -> Path:
    """Each Python of old endpoints that is installed."""
    found = interpreters.find(request.param)
    if found is None:
        pytest.skip(f"NOT TESTED on Python {request.param}: it is neither on PATH nor in pyenv")
    return found


@pytest.fixture
def old_plays(core_2_16: Path, old_python: Path, tmp_path: Path) -> Iterator[Plays]:
    """Runs tasks with ansible-core 2.16. The modules run with an old Python in the C locale."""
    yield Plays(core_2_16, old_python, tmp_path, os.environ["ANSIBLE_COLLECTIONS_PATH"])
