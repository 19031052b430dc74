"""Runs a benchmark and determines its exit status."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable


class Failed(Exception):
    """A measured program did not do its work, so its time is meaningless."""


def status_of(measure: Callable[[], None]) -> int:
    """Runs the measurement; returns the exit status of the benchmark."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        measure()
    except Failed as failed:
        print(f"\nbenchmark: {failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nbenchmark: stopped", file=sys.stderr)
        return 130
    return 0


def _stop(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt
