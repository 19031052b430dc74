"""What a mirror serves and how it is doing, as plain data: the content of `mde-mirror status`."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import VERSION, lag
from .records import FORMAT, Release
from .settings import Settings
from .state import State, read_state
from .times import age_seconds, is_future, now_iso
from .units import Unit

# How many entries of a channel's history are shown, the newest last.
_HISTORY = 20


def read_status(settings: Settings) -> dict[str, Any]:
    """The status of a mirror with the limits of its settings, read without a lock; nothing is written."""
    found = status(read_state(settings.root, settings.keep_previous), settings.root)
    for channel in found["channels"]:
        channel["max_definitions_age_hours"] = settings.max_definitions_age.of(channel["channel"])
    return found


def status(state: State, root: Path) -> dict[str, Any]:
    """Channels, versions, sizes (bytes), ages (seconds at `generated`), the last sync. Times are ISO 8601 UTC.

    `origin` says how the origin of what was taken last was proven. `chain` has the mirrors on the way from the source,
    the nearest first.
    """
    last = state.last_sync()
    asked = lag.by_unit(last.get("last_sync"))
    return {
        "format": FORMAT,
        "generated": now_iso(),
        "generator": f"mde-mirror {VERSION}",
        "root": str(root),
        "channels": [_channel(state, unit, asked.get(unit)) for unit in state.units()],
        "last_sync": last.get("last_sync"),
        "last_success": last.get("last_success"),
        "last_import": last.get("last_import"),
        "current_as_of": _current_as_of(last),
        "mirror_id": state.identity().mirror_id or None,
        "origin": last.get("origin"),
        "chain": last.get("chain", []),
    }


def _current_as_of(last: dict[str, Any]) -> str | None:
    """The time of the last sync without a failure, or of the last import that brought something newer."""
    imported = last.get("last_import")
    renewed = min(imported, last["last_renewal"]) if imported else None
    times = [moment for moment in (last.get("last_success"), renewed) if moment]
    # A clock that was wrong once must not hide what happens now.
    return max([moment for moment in times if not is_future(moment)] or times, default=None)


def _channel(state: State, unit: Unit, asked: dict[str, Any] | None) -> dict[str, Any]:
    channel = state.channel(unit)
    return {
        **unit.as_dict(),
        "path": unit.path,
        **_release(state.current(unit), channel.current),
        "published": channel.published,
        **lag.since_last_asked(asked, state.served_versions(unit), channel.published),
        "state": channel.state,
        "held": channel.hold,
        "withdrawn": [_withdrawn(state, unit, *entry) for entry in channel.withdrawn().items()][-_HISTORY:],
        "history": list(channel.history[-_HISTORY:]),
        "back": _release(state.previous(unit), channel.previous) if channel.previous else None,
    }


def _withdrawn(state: State, unit: Unit, name: str, at: str) -> dict[str, Any]:
    """A release that a rollback took away. It may be stored no longer; then its SHA-256 is not known."""
    definitions, engine = ([*name.split("-"), "", ""])[:2]
    return {
        "release": name,
        "definitions_version": definitions,
        "engine_version": engine,
        "sha256": state.sha256_of(unit, name),
        "at": at,
    }


def _release(release: Release | None, name: str | None) -> dict[str, Any]:
    """The fields of a release. If the release is missing, only its name is known.

    `age_seconds` is the age of the definitions, or the time since they were stored if the source gave no date.
    """
    return {
        "release": name,
        "definitions_version": release.definitions_version if release else None,
        "engine_version": release.engine_version if release else None,
        "definitions_date": release.definitions_date if release else None,
        "sha256": release.sha256 if release else None,
        "bytes": release.size if release else None,
        "stored": release.stored if release else None,
        "age_seconds": age_seconds(release.definitions_date or release.stored) if release else None,
    }


def missing(settings: Settings) -> list[str]:
    """The folders that channels should serve but do not. Only links and names are checked; no package is read."""
    state = read_state(settings.root, settings.keep_previous)
    return [
        path
        for unit, path, _name in _folders(state)
        if (settings.keep_previous or path == unit.path)
        and (path in state.wrong_links(unit) or not (settings.root / path / "updates.zip").is_file())
    ]


def verify(settings: Settings) -> list[dict[str, Any]]:
    """Reads everything that channels serve, now and as n-1. `damages` of an entry is empty if nothing is wrong."""
    state = read_state(settings.root, settings.keep_previous)
    found = []
    for unit, path, name in _folders(state):
        damages = state.problems(unit, name)
        if path in state.wrong_links(unit):
            damages.append(f"{settings.root / path} does not lead to this release")
        found.append({"path": path, "release": name, "damages": damages})
    return found


def _folders(state: State) -> list[tuple[Unit, str, str]]:
    """The folders of every unit, for what it serves now and for n-1, each with the release that belongs there."""
    pairs = []
    for unit in state.units():
        channel = state.channel(unit)
        for path, name in ((unit.path, channel.current), (unit.back_path, channel.previous)):
            if name:
                pairs.append((unit, path, name))
    return pairs
