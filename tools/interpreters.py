"""Finds the Python interpreters on this machine that can be started: on PATH, or among the versions of pyenv."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path


def _real_path(python: str) -> Path | None:
    """The path of the interpreter, or None if it cannot be started, such as a pyenv shim of a version not selected."""
    ask = [python, "-c", "import sys; print(sys.executable)"]
    try:
        done = subprocess.run(ask, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return Path(done.stdout.strip()) if done.returncode == 0 else None


@lru_cache(maxsize=None)
def find(version: str) -> Path | None:
    """The interpreter of a version such as "2.7" or "3.11", or None if this machine has none."""
    on_path = shutil.which(f"python{version}")
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = ([on_path] if on_path else []) + sorted(map(str, pyenv.glob(f"{version}.*/bin/python{version}")))
    return next(filter(None, map(_real_path, candidates)), None)
