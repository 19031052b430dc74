"""Reports that a check was skipped, and why; `.ci/run` repeats the message at its end."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def skipped(what: str, reason: str) -> None:
    line = f"SKIPPED {what}: {' '.join(reason.split())}"
    print(f"\n*** {line}\n", file=sys.stderr, flush=True)
    collected = os.environ.get("MDE_SKIPPED")
    if collected:
        with Path(collected).open("a", encoding="utf-8") as handle:
            handle.write(line + "\n")
