"""Runs `mde-mirror` from this checkout, without packing it first."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "plugins" / "module_utils"))

from _mirror.cli import main

sys.exit(main())
