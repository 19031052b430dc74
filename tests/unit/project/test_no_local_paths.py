"""No committed file contains paths, interpreters or package indexes of the machine that it was written on."""

from __future__ import annotations

import re
from pathlib import Path

from tools.collection_tree import CHECKOUT, checkout_files

HERE = Path(__file__).resolve().relative_to(CHECKOUT).as_posix()
# The home directory of root, a pyenv interpreter with its patch version, or a package index other than the public one.
TRACES = re.compile(
    r"""/root/[.\w] | \.pyenv/versions/\d | (?:\s|^)--(?:extra-)?index-url[ =]
      | https?://(?!pypi\.org|127\.)[^\s"']+/simple/? """,
    re.X,
)


def test_no_file_contains_paths_of_this_machine():
    own_paths = [str(CHECKOUT), *([] if Path.home() == Path("/root") else [str(Path.home())])]
    hits = []
    for name in checkout_files():
        path = CHECKOUT / name
        if name == HERE or path.is_symlink():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            found = TRACES.search(line)
            if found or any(own + "/" in line or line.rstrip().endswith(own) for own in own_paths):
                hits.append(f"{name}:{number}: {line.strip()[:120]}")
    assert hits == []
