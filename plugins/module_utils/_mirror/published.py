"""The packages that each unit published, with their versions, beyond the releases that are still stored."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from .files import read_json
from .records import FORMAT, Release
from .units import Unit, unit_of_path
from .versions import Versions, is_sha256, is_version

FILE = "published.json"
# As many releases as Microsoft publishes in about two months.
_REMEMBERED = 200


class Published:
    """The memory of one mirror, read from its state folder at the moment when the object is made."""

    def __init__(self, folder: Path) -> None:
        self._units: dict[Unit, dict[str, Versions]] = {}
        fields = read_json(folder / FILE)
        units = fields.get("units") if isinstance(fields, dict) else None
        for path, entries in units.items() if isinstance(units, dict) else ():
            with contextlib.suppress(ValueError):
                self._units[unit_of_path(path)] = _packages(entries)

    def packages(self, unit: Unit) -> dict[str, Versions]:
        """Versions by SHA-256, of all channels of the unit's platform and architecture: they share their packages."""
        return {
            sha256: versions
            for other, packages in self._units.items()
            if other.pool == unit.pool
            for sha256, versions in packages.items()
        }

    def with_release(self, unit: Unit, release: Release) -> dict[str, Any] | None:
        """The content of the file after a unit published a release; None where it has it already."""
        known = self._units.get(unit, {})
        if release.sha256 in known:
            return None
        self._units[unit] = dict([*known.items(), (release.sha256, release.versions)][-_REMEMBERED:])
        units = {
            unit.path: [{"sha256": sha256, **versions.as_dict()} for sha256, versions in packages.items()]
            for unit, packages in sorted(self._units.items())
        }
        return {"format": FORMAT, "units": units}


def _packages(entries: Any) -> dict[str, Versions]:
    found = {}
    for entry in entries if isinstance(entries, list) else ():
        with contextlib.suppress(KeyError, TypeError):
            sha256, definitions, engine = (entry[key] for key in ("sha256", "definitions_version", "engine_version"))
            if is_sha256(sha256) and is_version(definitions) and is_version(engine):
                found[sha256] = Versions(definitions, engine)
    return found
