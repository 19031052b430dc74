"""Finds promtool on PATH, or extracts it from Debian's package prometheus."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tools.collection_tree import CHECKOUT

CACHED = CHECKOUT / ".cache" / "promtool" / "promtool"
HOW = "apt-get install prometheus, or put promtool on PATH"


def promtool() -> str:
    found = shutil.which("promtool") or (str(CACHED) if os.access(CACHED, os.X_OK) else None)
    return found or _out_of_the_package()


def _out_of_the_package() -> str:
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        pytest.skip(f"the example alert rules were not tested: promtool is not installed ({HOW})")
    with tempfile.TemporaryDirectory() as name:
        fetched = _quietly(["apt-get", "download", "--quiet", "prometheus"], name)
        packages = list(Path(name).glob("prometheus_*.deb"))
        if not packages:
            pytest.skip(f"the example alert rules were not tested with promtool ({HOW}): {fetched}")
        unpacked = _quietly(["dpkg-deb", "--extract", str(packages[0]), "tree"], name)
        program = Path(name) / "tree" / "usr" / "bin" / "promtool"
        if not program.is_file():
            pytest.skip(f"the example alert rules were not tested with promtool ({HOW}): {unpacked}")
        CACHED.parent.mkdir(parents=True, exist_ok=True)
        # Several processes may do this at the same time.
        with tempfile.NamedTemporaryFile(dir=CACHED.parent, delete=False) as staged:
            shutil.copyfile(program, staged.name)
            Path(staged.name).chmod(0o755)
        Path(staged.name).replace(CACHED)
    return str(CACHED)


def _quietly(command: list[str], folder: str) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return f"{command[0]} did not end within two minutes"
    return " ".join((done.stderr or done.stdout).split())[-300:]
