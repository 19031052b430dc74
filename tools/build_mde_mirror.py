"""Packs the command `mde-mirror` as one executable file.

usage: build_mde_mirror.py [FILE]   (default: build/mde-mirror)
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "plugins" / "module_utils"))

from _mirror.pack import build_command

CHECKOUT = Path(__file__).resolve().parent.parent

if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else CHECKOUT / "build" / "mde-mirror")
    target.parent.mkdir(parents=True, exist_ok=True)
    print(f"{build_command(str(target))}  {target}")
