"""The result of a sync, for people, modules and the record in the state."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any, NamedTuple

from . import lag
from .decide import Step
from .errors import MirrorError

_CHANGES = ("updated", "repaired", "adopted")


class UnitResult(NamedTuple):
    """The result for one unit. `bytes` is the number received; `notes` lists failures after which a retry succeeded."""

    step: Step
    bytes: int
    seconds: float
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        step = self.step
        return {
            **step.unit.as_dict(),
            "outcome": step.outcome,
            "before": step.before.as_dict() if step.before else None,
            "after": step.after.as_dict() if step.after else None,
            **lag.as_fields(step.after, step.offered, step.behind_since),
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "error": step.error.as_dict() if step.error else None,
            "accepted": list(step.accepted),
            "notes": [*self.notes, *step.notes],
        }


class SyncResult(NamedTuple):
    """The result of a sync. `errors` are those that do not belong to a unit; times are ISO 8601 UTC."""

    started: str
    finished: str
    units: tuple[UnitResult, ...]
    errors: tuple[MirrorError, ...]
    pruned: tuple[str, ...]

    @property
    def failed(self) -> bool:
        return bool(self.errors) or any(unit.step.error for unit in self.units)

    @property
    def changed(self) -> bool:
        return bool(self.pruned) or any(unit.step.outcome in _CHANGES for unit in self.units)

    def as_dict(self) -> dict[str, Any]:
        return {
            "result": "failed" if self.failed else "ok",
            "changed": self.changed,
            "started": self.started,
            "finished": self.finished,
            "units": [unit.as_dict() for unit in self.units],
            "errors": [error.as_dict() for error in self.errors],
            "pruned": list(self.pruned),
        }
