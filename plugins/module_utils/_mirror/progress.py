"""Progress for people: one line that is updated on a terminal, plain lines everywhere else."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from typing import Any, Callable, TextIO

from .units import unit_name

_REDRAW_SECONDS = 0.2
_WORDS = {
    "updated": "updated",
    "unchanged": "nothing new",
    "repaired": "repaired",
    "adopted": "adopted",
    "held": "held",
    "failed": "FAILED",
}


class Report:
    """Prints the progress of a run; called by several threads at once. `log` gets the same lines, with dates."""

    def __init__(self, out: TextIO, log: Callable[[str], None] | None = None, check: bool = False) -> None:
        self._out = out
        self._log = log
        self._check = check
        self._lock = threading.Lock()
        self._moving = out.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._under_way: dict[str, tuple[int, int | None]] = {}
        self._drawn = 0.0
        self.lost: OSError | None = None

    def unit_started(self, unit: str, versions: str) -> None:
        self._line(f"{unit}: downloading {versions}")

    def progress_of(self, unit: str) -> Callable[[int, int | None], None]:
        """The function that a download calls with the number of bytes received so far and the size of the package."""
        return lambda size, total: self._progress(unit, size, total)

    def _progress(self, unit: str, size: int, total: int | None) -> None:
        if not self._moving:
            return
        with self._lock:
            self._under_way[unit] = (size, total)
            if time.monotonic() - self._drawn >= _REDRAW_SECONDS:
                self._drawn = time.monotonic()
                self._write("\r\x1b[K" + self._moving_line())

    def retrying(self, unit: str, what: str, pause: float) -> None:
        self._line(f"{unit}: {what}" + (f"; trying again in {pause:.0f} s" if pause else ""))

    def unit_finished(self, unit: dict[str, Any]) -> None:
        name = unit_name(unit)
        with self._lock:
            self._under_way.pop(name, None)
        self._line(f"{name}: {self._summary(unit)}")
        if unit["error"]:
            self._line("    {}".format(unit["error"]["hint"]))

    def _summary(self, unit: dict[str, Any]) -> str:
        word = _WORDS[unit["outcome"]]
        if self._check and unit["outcome"] in ("updated", "repaired", "adopted"):
            word = f"would be {word}"
        if unit["error"]:
            return "{} ({}): {}".format(word, unit["error"]["code"], unit["error"]["message"])
        before, after = (_versions(unit[key]) for key in ("before", "after"))
        text = f"{word}, {after}" if before in (after, "nothing") else f"{word}, {before} -> {after}"
        if unit["outcome"] == "held" and unit["behind_since"] and unit["offered"]:
            text += f"; the source has {_versions(unit['offered'])}"
        if unit["bytes"]:
            speed = unit["bytes"] / max(unit["seconds"], 0.001)
            text += " ({} in {:.1f} s, {}/s)".format(_size(unit["bytes"]), unit["seconds"], _size(speed))
        return text

    def finished(self, result: dict[str, Any]) -> None:
        for release in result["pruned"]:
            self._line(f"removed the old release {release}")
        for error in result["errors"]:
            self.failed(error)
        units = result["units"]
        counts = ["{} {}".format(sum(u["outcome"] == o for u in units), w) for o, w in _WORDS.items()]
        self._line("{}: {}".format(result["result"], ", ".join(c for c in counts if not c.startswith("0 "))))

    def failed(self, error: dict[str, Any]) -> None:
        self._line("FAILED ({code}): {message}".format(**error))
        self._line("    {}".format(error["hint"]))

    def bug(self, error: BaseException) -> None:
        if os.environ.get("MDE_MIRROR_DEBUG"):
            import traceback

            for line in traceback.format_exception(type(error), error, error.__traceback__):
                self._line(line.rstrip("\n"))

    def _line(self, text: str) -> None:
        with self._lock:
            self._write(("\r\x1b[K" if self._moving else "") + text + "\n")
            if self._log:
                self._log(text)

    def _write(self, text: str) -> None:
        """Writes to the output. A full disk or a closed pipe does not stop a run; the command reports it at the end."""
        if self.lost is None:
            try:
                self._out.write(text)
                self._out.flush()
            except OSError as error:
                self.lost = error

    def _moving_line(self) -> str:
        parts: list[str] = []
        for unit, (size, total) in sorted(self._under_way.items()):
            share = f"{100 * size / total:3.0f} %" if total else _size(size)
            parts.append(f"{unit} {share}")
        return "  ".join(parts)[: shutil.get_terminal_size().columns - 1]


class Silent(Report):
    """Prints nothing."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self._moving = False

    def _line(self, text: str) -> None:
        return


def _versions(versions: dict[str, str] | None) -> str:
    if not versions:
        return "nothing"
    return "definitions {definitions_version}, engine {engine_version}".format(**versions)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
