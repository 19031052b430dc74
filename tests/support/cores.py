"""Installs other versions of ansible-core, each in its own virtual environment, once per checkout."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import interpreters

# The oldest version that the collection supports, the first one with the new templating, and the newest one.
LINES = ("2.16", "2.19", "2.21")
# The Pythons that each version supports.
PYTHONS = {"2.16": ("3.11", "3.12", "3.10"), "2.19": ("3.11", "3.12", "3.13"), "2.21": ("3.12", "3.13", "3.14")}
CACHE = Path(__file__).resolve().parents[2] / ".cache"


def ansible_playbook(line: str) -> Path:
    """The ansible-playbook of the newest ansible-core of a line such as 2.16; skips the test if there is none."""
    folder = CACHE / "venvs" / f"core-{line}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"core-{line}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ready = folder / "ready"
        if not ready.exists():
            shutil.rmtree(folder, ignore_errors=True)
            problem = _make_venv(folder, line)
            if problem:
                pytest.skip(f"NOT TESTED with ansible-core {line}, which could not be installed: {problem}")
            ready.touch()
    return folder / "bin" / "ansible-playbook"


def _make_venv(folder: Path, line: str) -> str | None:
    """Creates the virtual environment; returns the reason of a failure, or None."""
    version = "{}.{}".format(*sys.version_info)
    python = Path(sys.executable) if version in PYTHONS[line] else None
    python = python or next(filter(None, map(interpreters.find, PYTHONS[line])), None)
    if python is None:
        return f"it needs one of the Pythons {', '.join(PYTHONS[line])}, and none is installed"
    packages = [f"ansible-core=={line}.*", "jsonschema>=4.18"]
    steps = [[str(python), "-m", "venv", str(folder)], [str(folder / "bin" / "pip"), "install", "--quiet", *packages]]
    uv = shutil.which("uv")
    if uv:
        steps = [[uv, "venv", "--quiet", "--python", str(python), str(folder)]]
        steps += [[uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), *packages]]
    for step in steps:
        try:
            done = subprocess.run(step, capture_output=True, text=True, timeout=1200, check=False)
        except subprocess.TimeoutExpired:
            return f"{' '.join(step)}: it did not end"
        if done.returncode != 0:
            return f"{' '.join(step)}: {(done.stderr or done.stdout).strip()[-300:]}"
    return None
