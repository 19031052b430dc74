"""What a mirror serves and how it is doing, as plain data: the content of `status.json` and of `mde-mirror status`."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
from typing import Any, Iterator

from . import VERSION, lag
from .errors import MirrorError
from .files import target_of
from .records import FORMAT, ZIP, Release
from .settings import Settings
from .store import Store
from .times import age_seconds, now_iso
from .units import Unit

# How much of a channel's history is told, newest last.
_HISTORY = 20


def read_status(settings: Settings) -> dict[str, Any]:
    """The status of a mirror, looked at from outside: no lock is taken and nothing is written."""
    store = Store(settings)
    store.load()
    return status(store)


def keep_status_true(store: Store) -> None:
    """From now on `status.json` follows each change of a channel, so that who reads it meanwhile finds what it says.

    What a run that died left untrue is mended at once. A failure to write it must not look like a failure of the
    change: whoever works on the store writes it once more at the end, and reports that.
    """

    def write() -> None:
        with contextlib.suppress(MirrorError):
            store.save_status(status(store))

    if _told_of(_read(store)) != _told_of(status(store)):
        write()
    store.on_change = write


def _told_of(fields: dict[str, Any]) -> list[Any]:
    """What a status says about channels, without what moves by itself."""
    told: list[Any] = []
    with contextlib.suppress(KeyError, TypeError, AttributeError):
        for entry in fields["channels"]:
            told.append((entry["path"], entry["release"], (entry["back"] or {}).get("release"), entry["held"]))
    return told


def _read(store: Store) -> dict[str, Any]:
    try:
        fields = json.loads((store.root / "status.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def status(store: Store) -> dict[str, Any]:
    """Channels, versions, sizes (bytes), ages (seconds at `generated`), the last sync. Times are ISO 8601 UTC."""
    last = store.last_sync()
    asked = lag.by_unit(last.get("last_sync"))
    return {
        "format": FORMAT,
        "generated": now_iso(),
        "generator": f"mde-mirror {VERSION}",
        "root": str(store.root),
        "channels": [_channel(store, unit, asked.get(unit)) for unit in store.units()],
        "last_sync": last.get("last_sync"),
        "last_success": last.get("last_success"),
        "last_import": last.get("last_import"),
    }


def _channel(store: Store, unit: Unit, asked: dict[str, Any] | None) -> dict[str, Any]:
    channel = store.channel(unit)
    return {
        "platform": unit.platform,
        "channel": unit.channel,
        "arch": unit.arch,
        "path": unit.path,
        **_release(store.current(unit), channel.current),
        "published": channel.published,
        **lag.since_last_asked(asked, store.served_versions(unit), channel.published),
        "held": channel.hold,
        "history": channel.entries()[-_HISTORY:],
        "back": _release(store.previous(unit), channel.previous) if channel.previous else None,
    }


def _release(release: Release | None, name: str | None) -> dict[str, Any]:
    """One release; of one that is gone, its name alone.

    `age_seconds` is how old the definitions are, or how long ago they were stored where the source told no date.
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


def gone(settings: Settings) -> list[str]:
    """The folders that channels should serve and do not, told by names alone: no package is read."""
    store = Store(settings)
    store.load()
    return [
        path
        for unit, path, name in _folders(store)
        if _shown(settings, unit, path)
        and not ((store.root / path / ZIP).is_file() and _leads_to(store, unit, path, name))
    ]


def _folders(store: Store) -> Iterator[tuple[Unit, str, str]]:
    """Every unit with the folder of what it serves and of n-1, and the release that belongs there."""
    for unit in store.units():
        channel = store.channel(unit)
        for path, name in ((unit.path, channel.current), (unit.back_path, channel.previous)):
            if name:
                yield unit, path, name


def _shown(settings: Settings, unit: Unit, path: str) -> bool:
    return settings.back or path == unit.path


def _leads_to(store: Store, unit: Unit, path: str, name: str) -> bool:
    return target_of(store.root / path) == target_of(store.folder_of(unit, name))


def verify(settings: Settings) -> list[dict[str, Any]]:
    """Reads everything that channels point at, now and as n-1. `damages` of an entry is empty where all is well."""
    store = Store(settings)
    store.load()
    found = []
    for unit, path, name in _folders(store):
        release = store.release(unit, name)
        damages = store.damages(release) if release else [f"the release {name} is gone"]
        if _shown(settings, unit, path) and not _leads_to(store, unit, path, name):
            damages.append(f"{store.root / path} does not point at it")
        found.append({"path": path, "release": name, "damages": damages})
    return found
