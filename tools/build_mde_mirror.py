"""Packs the command `mde-mirror` into the file named on the command line."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "plugins" / "module_utils"))

from _mirror.pack import build_command

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: build_mde_mirror.py FILE")
    Path(sys.argv[1]).parent.mkdir(parents=True, exist_ok=True)
    print(f"{build_command(sys.argv[1])}  {sys.argv[1]}")
