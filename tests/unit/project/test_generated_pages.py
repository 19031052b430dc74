"""Generated pages are up to date (`make docs` writes them again)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tools.collection_tree import CHECKOUT, checkout_files

WRITERS = sorted(path.name for path in (CHECKOUT / "tools").glob("render_*.py"))


@pytest.mark.parametrize("writer", WRITERS)
def test_a_generated_page_does_not_change_when_it_is_written_again(writer, tmp_path):
    names = checkout_files()
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CHECKOUT / name, tmp_path / name, follow_symlinks=False)
    ours = ("PYTHONPATH", "ANSIBLE_COLLECTIONS_PATH")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    for script in ("collection_tree.py", writer):
        command = [sys.executable, f"tools/{script}"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    differ = [name for name in names if (tmp_path / name).read_bytes() != (CHECKOUT / name).read_bytes()]
    assert differ == []
