"""`make bench`: each benchmark starts in a checkout, without the paths that pytest sets."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tools.collection_tree import CHECKOUT

BENCHMARKS = sorted(path.name for path in CHECKOUT.glob("tests/benchmark/*.py") if "__main__" in path.read_text())


def test_there_are_benchmarks():
    assert BENCHMARKS == ["endpoints.py", "serving.py", "start.py", "sync.py"]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_starts(name, tmp_path):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "PYTHON"))}

    asked = subprocess.run(
        [sys.executable, CHECKOUT / "tests" / "benchmark" / name, "--help"],
        cwd=tmp_path,
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.startswith(f"usage: {name}")
