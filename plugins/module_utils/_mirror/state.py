"""The state files of a mirror: what channels serve and why, and the record of the last sync."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from .files import advising, json_bytes, read_json, replace
from .integrity import Integrity
from .published import FILE, Published
from .records import FORMAT, UNVERIFIED_ORIGINS, Channel, Identity, Release, read_chain, read_channel, read_identity
from .store import Store
from .times import now_iso
from .trust import Trust
from .trust import read as read_trust
from .units import Unit, unit_of_path
from .versions import Versions, is_version

_FILE_MODE = 0o640
_CHANNELS, _CHANNELS_COPY, _IDENTITY = "channels.json", "channels-copy.json", "identity.json"
# The fields of the record of a sync that its readers rely on, with their types.
_RECORD = {"result": str, "finished": str, "units": list, "errors": list}
_UNIT_RECORD = {"platform": str, "channel": str, "arch": str, "outcome": str, "bytes": int, "seconds": (int, float)}
_ERROR_RECORD = {"code": str, "message": str, "hint": str}


class UnreadRelease(Exception):
    """A package must be read before it can be used in a session, because no package is read under its lock."""

    def __init__(self, unit: Unit, name: str) -> None:
        super().__init__(unit, name)
        self.unit, self.name = unit, name


class State:
    """What a mirror serves at the moment when the object is made. `channels.json` is authoritative.

    Entries that are lost or unreadable are rebuilt from the links that clients see, and from the second copy of that
    file. With `under_lock`, no package is read: `UnreadRelease` names the one that must be read first.
    """

    def __init__(self, store: Store, integrity: Integrity, under_lock: bool = False) -> None:
        self._store, self._integrity, self._under_lock = store, integrity, under_lock
        self._folder = store.root / ".state"
        self._channels = self._read_channels(_CHANNELS)
        self.rebuilt = False
        self._rebuild()

    def _read_channels(self, name: str) -> dict[Unit, Channel]:
        fields, found = read_json(self._folder / name), {}
        entries = fields.get("channels") if isinstance(fields, dict) else None
        for path, entry in entries.items() if isinstance(entries, dict) else ():
            with contextlib.suppress(ValueError, TypeError, AttributeError):
                found[unit_of_path(path)] = read_channel(entry)
        return found

    def _rebuild(self) -> None:
        for path, _link in self._store.visible():
            with contextlib.suppress(ValueError, OSError):
                unit = unit_of_path(path)
                if unit in self._channels or unit.channel.endswith("_back"):
                    continue
                current = self._store.linked_release(unit, path)
                if current is None:
                    continue
                channel = self._copy_of(unit)
                if channel.current != current:
                    channel = Channel(current=current, published=now_iso())
                previous = self._store.linked_release(unit, unit.back_path)
                self._channels[unit] = channel._replace(previous=previous)
                self.rebuilt = True

    def _copy_of(self, unit: Unit) -> Channel:
        """The second copy of a channel whose state is lost, mainly to preserve its hold."""
        return self._read_channels(_CHANNELS_COPY).get(unit, Channel())

    # --- channels -----------------------------------------------------------------------------------------------

    @property
    def channels(self) -> dict[Unit, Channel]:
        return self._channels

    def units(self) -> list[Unit]:
        """Every unit that was ever published here, in the order of the paths."""
        return sorted((unit for unit, channel in self._channels.items() if channel.current), key=lambda unit: unit.path)

    def channel(self, unit: Unit) -> Channel:
        return self._channels.get(unit, Channel())

    def release(self, unit: Unit, name: str | None) -> Release | None:
        """The release of that name, even if its metadata was damaged; None if it does not exist."""
        if not name:
            return None
        found = self._store.release(unit, name)
        if found is None and self._store.needs_recovery(unit, name):
            if self._under_lock:
                raise UnreadRelease(unit, name)
            found = self._store.recovered(unit, name)
        return found

    def current(self, unit: Unit) -> Release | None:
        return self.release(unit, self.channel(unit).current)

    def previous(self, unit: Unit) -> Release | None:
        return self.release(unit, self.channel(unit).previous)

    def served_versions(self, unit: Unit) -> Versions | None:
        """The versions that a unit is to serve, even if the release itself was damaged or deleted."""
        definitions, engine = ([*(self.channel(unit).current or "").split("-"), ""])[:2]
        if not (is_version(definitions) and is_version(engine)):
            return None
        release = self.current(unit)
        return release.versions if release else Versions(definitions, engine)

    def published(self, unit: Unit) -> dict[str, Versions]:
        """The versions of the packages that were published for the platform and architecture, by SHA-256.

        Version 0.1.0 kept no such memory, so that what is stored counts too. Versions that nobody verified do not.
        """
        found = {}
        for name in self.names(unit):
            release = self._store.release(unit, name)
            if release and release.origin not in UNVERIFIED_ORIGINS:
                found[release.sha256] = release.versions
        return {**found, **Published(self._folder).packages(unit)}

    def sha256_of(self, unit: Unit, name: str) -> str | None:
        """The SHA-256 of a release according to its metadata; None if it is not stored, or its metadata is damaged."""
        release = self._store.release(unit, name)
        return release.sha256 if release else None

    def is_whole(self, unit: Unit, name: str | None) -> bool:
        """Whether the release is there and its package is the one that was verified."""
        release = self.release(unit, name)
        if release is None:
            return False
        if not self._under_lock:
            return self._integrity.is_whole(release)
        known = self._integrity.known(release)
        if known is None:
            raise UnreadRelease(unit, release.name)
        return known

    def previous_after(self, unit: Unit, name: str) -> str:
        """The release that becomes n-1 when the unit is rolled back to `name`; `name` itself if no other is whole."""
        earlier = self.channel(unit).earlier_than(name)
        return next((release for release in earlier if self.is_whole(unit, release)), name)

    def names(self, unit: Unit) -> list[str]:
        """Names of the releases that are stored for the unit's platform and architecture, oldest first."""
        return self._store.names(unit)

    def problems(self, unit: Unit, name: str) -> list[str]:
        """Describes what is wrong with a release. All of its files are read."""
        release = self.release(unit, name)
        return self._integrity.problems(release) if release else [f"the release {name} is missing"]

    def wrong_links(self, unit: Unit) -> list[str]:
        """The paths of a unit's links that do not lead to the release that its channel names."""
        return self._store.wrong_links(unit, self.channel(unit))

    # --- writing, in a session only -----------------------------------------------------------------------------

    def save_channels(self, staging: Path) -> None:
        channels = {unit.path: self._channels[unit]._asdict() for unit in self.units()}
        for name in (_CHANNELS, _CHANNELS_COPY):
            self.save(name, {"format": FORMAT, "channels": channels}, staging)

    def remember(self, unit: Unit, release: Release, staging: Path) -> None:
        """Keeps the package and the versions of what the unit publishes."""
        if release.origin in UNVERIFIED_ORIGINS:
            return
        content = Published(self._folder).with_release(unit, release)
        if content:
            self.save(FILE, content, staging)

    def save(self, name: str, fields: Any, staging: Path) -> None:
        path = self._folder / name
        with advising("writing", path):
            replace(path, json_bytes(fields), staging, _FILE_MODE)

    # --- the identity of the mirror -----------------------------------------------------------------------------

    def identity(self) -> Identity:
        """The identity, from the state or else from `status.json`; empty before the first session."""
        for path in (self._folder / _IDENTITY, self._store.root / "status.json"):
            found = read_identity(read_json(path))
            if found.mirror_id:
                return found
        return Identity()

    def next_identity(self, staging: Path) -> Identity:
        """The identity with the sequence number of the next status, which is saved first: no number occurs twice."""
        present = self.identity()
        following = Identity(present.mirror_id or os.urandom(16).hex(), present.sequence + 1)
        self.save(_IDENTITY, {"format": FORMAT, **following._asdict()}, staging)
        return following

    def trust(self) -> Trust:
        return read_trust(self._folder)

    # --- the record of the last sync ----------------------------------------------------------------------------

    def last_sync(self) -> dict[str, Any]:
        fields = read_json(self._folder / "last-sync.json")
        if not isinstance(fields, dict):
            return {}
        texts = ("last_success", "last_import", "last_renewal", "origin")
        kept = {key: fields[key] for key in texts if isinstance(fields.get(key), str)}
        kept["chain"] = read_chain(fields.get("chain"))
        if "last_import" in kept:
            # Version 0.1.0 did not record what an import brought.
            kept.setdefault("last_renewal", kept["last_import"])
        return {**kept, "last_sync": fields["last_sync"]} if _is_record(fields.get("last_sync")) else kept


def read_state(root: Path, previous_links: bool) -> State:
    """What the mirror below `root` serves now, for readers."""
    store = Store(root, previous_links)
    return State(store, Integrity(store))


def _is_record(fields: Any) -> bool:
    if not _has(fields, _RECORD) or not all(_has(unit, _UNIT_RECORD) for unit in fields["units"]):
        return False
    errors = [*fields["errors"], *(unit["error"] for unit in fields["units"] if unit.get("error"))]
    return all(_has(error, _ERROR_RECORD) for error in errors)


def _has(fields: Any, kinds: dict[str, Any]) -> bool:
    return isinstance(fields, dict) and all(isinstance(fields.get(key), kind) for key, kind in kinds.items())
