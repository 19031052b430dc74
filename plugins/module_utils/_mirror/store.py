"""The mirror on disk: releases that never change, and channels that point at them.

`.state/channels.json` is the truth; the links that clients see are made to agree with it, so a run that died between
the two is completed by the next one. Everything a client can see appears by one rename(2).
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable, Iterator

from .errors import MirrorError
from .files import (
    FILE_MODE,
    advising,
    make_directory,
    os_error,
    point,
    remove_tree,
    replace,
    sha256_of,
    sync_directory,
    target_of,
    unique,
    write,
)
from .records import CARD, FORMAT, MANIFEST, ZIP, Channel, Release, read_channel
from .settings import Settings
from .times import now_iso
from .units import Unit, unit_of_path
from .versions import Versions, is_version, version_key

# What a download may leave free at least, in bytes: the state files of this and the next runs.
SPARE_BYTES = 4 * 1024 * 1024
# Within one step of a filesystem's clock, a second at most, a file can change and keep its times.
_SETTLED_SECONDS = 2
_STATE_FILE_MODE = 0o640
# What those who read the record of a sync rely on.
_RECORD = {"result": str, "finished": str, "units": list, "errors": list}
_UNIT_RECORD = {"platform": str, "channel": str, "arch": str, "outcome": str, "bytes": int, "seconds": (int, float)}
_ERROR_RECORD = {"code": str, "message": str, "hint": str}


class Store:
    """The folder tree below one root. Methods that write are called by the holder of the lock only."""

    def __init__(self, settings: Settings) -> None:
        self.root = settings.root
        self._settings = settings
        self.releases = self.root / ".releases"
        self.incoming = self.root / ".incoming"
        self.state = self.root / ".state"
        self._lock = threading.RLock()
        self._channels: dict[str, Channel] = {}
        self._rebuilt = False
        self._seen: dict[str, dict[str, list[int]]] = {}
        self._reserved = 0
        self._cards: dict[tuple[str, str], Release] = {}
        # Called after each change of what channels serve.
        self.on_change: Callable[[], None] = lambda: None

    # --- opening ----------------------------------------------------------------------------------------------

    @property
    def lock_file(self) -> Path:
        return self.state / "lock"

    def prepare(self) -> None:
        """Makes the root and its folders. Raises `MirrorError` where that is not allowed."""
        with advising("preparing", self.root):
            make_directory(self.root)
            for folder in (self.releases, self.state):
                make_directory(folder)
            make_directory(self.incoming, 0o700)
            probe = self.incoming / unique("probe")
            probe.mkdir()
            probe.rmdir()

    def load(self) -> None:
        """Reads the state; what is lost or unreadable of it is rebuilt from the links that clients see."""
        fields = _read_json(self.state / "channels.json")
        entries = fields.get("channels") if isinstance(fields, dict) else None
        self._channels = {}
        for path, entry in entries.items() if isinstance(entries, dict) else ():
            with contextlib.suppress(ValueError, TypeError, AttributeError):
                unit_of_path(path)
                self._channels[path] = read_channel(entry)
        self._rebuild()
        seen = _read_json(self.state / "seen.json")
        self._seen = seen if isinstance(seen, dict) else {}

    def _rebuild(self) -> None:
        for link in sorted(self.root.glob("*/*/arch_*")):
            path = link.relative_to(self.root).as_posix()
            with contextlib.suppress(ValueError, OSError):
                unit = unit_of_path(path)
                known = path in self._channels or unit.channel.endswith("_back")
                if not known and self._on_shelf(unit, link):
                    back = self.root / unit.back_path
                    current = target_of(link).name
                    channel = self._told_by_status(path)
                    if channel.current != current:
                        channel = Channel(current=current, published=now_iso())
                    channel.previous = target_of(back).name if self._on_shelf(unit, back) else None
                    self._channels[path] = channel
                    self._rebuilt = True

    def _told_by_status(self, path: str) -> Channel:
        """What `status.json` still knows of a channel whose state is lost: above all, that it is held."""
        fields = _read_json(self.root / "status.json")
        with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError, StopIteration):
            entry = next(entry for entry in fields["channels"] if entry["path"] == path)
            own = any(done["action"] == "promote" for done in entry["history"])
            return read_channel(
                {
                    "current": entry["release"],
                    "published": entry["published"],
                    "hold": entry["held"],
                    "history": entry["history"],
                    "own": own,
                }
            )
        return Channel()

    def _on_shelf(self, unit: Unit, link: Path) -> bool:
        return link.is_symlink() and target_of(link).parent == target_of(self.releases / unit.shelf)

    def recover(self) -> dict[Unit, MirrorError]:
        """Completes what a run that died left behind: links that do not agree with the state, scraps in `.incoming`.

        Returns the units whose links cannot be mended, and why; that must not keep the others from it.
        """
        if self._rebuilt:
            self._save_channels()
        failed = {}
        for unit in map(unit_of_path, sorted(self._channels)):
            try:
                self._show(unit)
            except MirrorError as error:
                failed[unit] = error
        with advising("tidying", self.incoming):
            for scrap in self.incoming.iterdir():
                if scrap.suffix != ".download":
                    remove_tree(scrap)
        return failed

    # --- reading ----------------------------------------------------------------------------------------------

    def units(self) -> list[Unit]:
        """Every unit that was ever published here."""
        return [unit_of_path(path) for path, channel in sorted(self._channels.items()) if channel.current]

    def channel(self, unit: Unit) -> Channel:
        with self._lock:
            return self._channels.setdefault(unit.path, Channel())

    def current(self, unit: Unit) -> Release | None:
        return self.release(unit, self.channel(unit).current)

    def previous(self, unit: Unit) -> Release | None:
        return self.release(unit, self.channel(unit).previous)

    def served_versions(self, unit: Unit) -> Versions | None:
        """What a unit was made to serve, also when the release itself was damaged or deleted since."""
        definitions, engine = ([*(self.channel(unit).current or "").split("-"), ""])[:2]
        if not (is_version(definitions) and is_version(engine)):
            return None
        release = self.current(unit)
        return release.versions if release else Versions(definitions, engine)

    def folder(self, release: Release) -> Path:
        return self.releases / release.shelf / release.name

    def folder_of(self, unit: Unit, name: str) -> Path:
        return self.releases / unit.shelf / name

    def release(self, unit: Unit, name: str | None) -> Release | None:
        """The release of that name: from its card, or from its name and zip if the card is damaged. None if gone."""
        if not name:
            return None
        with self._lock:
            known = self._cards.get((unit.shelf, name))
            if known is None:
                known = self._read_card(unit, name)
                if known is not None:
                    self._cards[(unit.shelf, name)] = known
            return known

    def _read_card(self, unit: Unit, name: str) -> Release | None:
        folder = self.folder_of(unit, name)
        fields = _read_json(folder / CARD)
        if isinstance(fields, dict):
            with contextlib.suppress(KeyError, TypeError):
                release = Release(**{key: fields[key] for key in Release.__dataclass_fields__})
                if release.name == name and release.shelf == unit.shelf:
                    return release
        definitions, engine, beginning = ([*name.split("-"), "", ""])[:3]
        with contextlib.suppress(OSError):
            digest = sha256_of(folder / ZIP)
            if digest.startswith(beginning) and is_version(definitions) and is_version(engine):
                size = (folder / ZIP).stat().st_size
                return Release(unit.shelf, definitions, engine, None, digest, size, now_iso(), "recovered")
        return None

    # --- proving what is published ------------------------------------------------------------------------------

    def intact(self, release: Release, mend: bool = True) -> bool:
        """True when the zip is the one that was proven. With `mend`, manifest and card are written anew if they differ.

        Files whose size, inode and times are those of the last look are not read again: a change of content moves the
        change time, once that is no longer the present one. `mde-mirror verify` reads everything.
        """
        folder = self.folder(release)
        key = f"{release.shelf}/{release.name}"
        if self._fingerprint(folder) == self._seen.get(key):
            return True
        try:
            if (folder / ZIP).stat().st_size != release.size or sha256_of(folder / ZIP) != release.sha256:
                return False
        except OSError:
            return False
        if mend:
            self._write_small_files(folder, release)
            self._remember(release)
        return True

    def needs_mending(self, release: Release) -> bool:
        """True when `intact` would write the manifest or card of this release again."""
        folder = self.folder(release)
        return not (_read(folder / MANIFEST) == release.versions.manifest() and _read(folder / CARD) == release.card())

    def damages(self, release: Release) -> list[str]:
        """What is wrong with a release, in words; everything is read."""
        folder, found = self.folder(release), []
        try:
            if sha256_of(folder / ZIP) != release.sha256:
                found.append(f"{ZIP} is not the file that was proven (SHA-256 differs)")
        except OSError as error:
            found.append(f"{ZIP} cannot be read: {error.strerror}")
        if _read(folder / MANIFEST) != release.versions.manifest():
            found.append(f"{MANIFEST} is missing or was changed")
        if _read(folder / CARD) != release.card():
            found.append(f"{CARD} is missing or was changed")
        return found

    def _remember(self, release: Release) -> None:
        """Spares the next look the reading, unless the files are so young that it could miss a change."""
        found = self._fingerprint(self.folder(release))
        youngest = max((moment for entry in found.values() for moment in entry[2:]), default=0)
        self._seen.pop(f"{release.shelf}/{release.name}", None)
        if time.time_ns() - youngest > _SETTLED_SECONDS * 10**9:
            self._seen[f"{release.shelf}/{release.name}"] = found

    @staticmethod
    def _fingerprint(folder: Path) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for name in (ZIP, MANIFEST, CARD):
            with contextlib.suppress(OSError):
                stat = (folder / name).lstat()
                found[name] = [stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns]
        return found

    def _write_small_files(self, folder: Path, release: Release) -> None:
        for name, data in ((MANIFEST, release.versions.manifest()), (CARD, release.card())):
            if _read(folder / name) != data:
                with advising("writing", folder / name):
                    replace(folder / name, data, self.incoming)

    # --- room ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def reserved(self, wanted: int) -> Iterator[None]:
        """Room for a download of `wanted` more bytes, beside those under way. Raises `MirrorError` if there is none."""
        with self._lock:
            figures = os.statvfs(str(self.incoming))
            free = figures.f_bavail * figures.f_frsize - self._reserved
            if wanted + SPARE_BYTES > free:
                raise MirrorError(
                    "disk_full",
                    f"{self.root} has {max(0, free) >> 20} MiB free where a download needs "
                    f"{(wanted + SPARE_BYTES) >> 20} MiB",
                    f"Free space on that filesystem, or lower `retain` (now {self._settings.retain}). What is "
                    "published was not touched.",
                )
            self._reserved += wanted
        try:
            yield
        finally:
            with self._lock:
                self._reserved -= wanted

    # --- storing and publishing -----------------------------------------------------------------------------------

    def keep(self, unit: Unit, package: Path, release: Release) -> Release:
        """Puts a proven package on the shelf: moved there whole, with manifest and card. Heals a damaged twin."""
        folder = self.folder(release)
        with advising("storing", folder):
            package.chmod(FILE_MODE)
            _flush(package)
            with self._lock:
                twin = self.release(unit, release.name)
                if twin is not None and twin.sha256 == release.sha256 and folder.is_dir():
                    package.replace(folder / ZIP)
                    # Two names of one file, as an adoption that was killed leaves them, stay as they are.
                    remove_tree(package)
                    sync_directory(folder)
                    release = twin
                    self._write_small_files(folder, release)
                else:
                    staged = self.incoming / unique("release")
                    make_directory(staged)
                    package.replace(staged / ZIP)
                    write(staged / MANIFEST, release.versions.manifest())
                    write(staged / CARD, release.card())
                    sync_directory(staged)
                    make_directory(folder.parent)
                    remove_tree(folder)
                    staged.rename(folder)
                    sync_directory(folder.parent)
                self._cards[(unit.shelf, release.name)] = release
                self._remember(release)
        return release

    def publish(self, unit: Unit, release: Release, action: str, by: str = "sync", disown: bool = False) -> None:
        """Makes the channel serve a release; what it served becomes n-1, if that is whole.

        With `disown`, what it served was not what it said it was: it never becomes n-1 and is not kept.
        """
        with self._lock:
            channel = self.channel(unit)
            before = self.current(unit)
            if disown and before is not None:
                channel.history = [done for done in channel.entries() if done["release"] != before.name]
                before = None
            if channel.current != release.name:
                if before is not None and self.intact(before):
                    channel.previous = before.name
                elif channel.previous == release.name:
                    channel.previous = None
                channel.current = release.name
                channel.published = now_iso()
            channel.own = channel.own or action == "promote"
            channel.entries().append({"release": release.name, "at": now_iso(), "action": action, "by": by})
            self._save_and_show(unit)

    def take_over(self, unit: Unit, current: Release | None, previous: Release | None) -> None:
        """Makes a unit serve releases that were adopted where they lay."""
        with self._lock:
            channel = self.channel(unit)
            if current is not None:
                channel.current, channel.published = current.name, now_iso()
                channel.entries().append({"release": current.name, "at": now_iso(), "action": "adopt", "by": "sync"})
            if previous is not None and (current is None or previous.name != current.name):
                channel.previous = previous.name
            if channel.current:
                self._save_and_show(unit)

    def roll_back(self, unit: Unit, release: Release, hold: dict[str, str], by: str) -> None:
        """Makes the channel serve an earlier release and holds it there."""
        with self._lock:
            channel = self.channel(unit)
            channel.previous = self.back_behind(unit, release)
            channel.current, channel.published, channel.hold = release.name, now_iso(), hold
            channel.entries().append({"release": release.name, "at": now_iso(), "action": "rollback", "by": by})
            self._save_and_show(unit)

    def back_behind(self, unit: Unit, release: Release) -> str:
        """What n-1 becomes when a unit is rolled back to a release: the newest that it served before that one.

        Where none is left, n-1 stays if it can: what is rolled away from, now or earlier, must not come back under the
        name that people turn to when something is wrong.
        """
        channel = self.channel(unit)
        path: list[str] = []
        for entry in channel.entries():
            name = entry["release"]
            if entry["action"] in ("hold", "release"):
                continue
            if entry["action"] == "rollback":
                del path[_last(path, name) :]
            path.append(name)
        at = _last(path, release.name)
        left = {channel.current, *path[at:]}
        for candidate in [*reversed(path[:at]), channel.previous]:
            found = self.release(unit, candidate)
            if found is not None and candidate not in left and self.intact(found, mend=False):
                return found.name
        return release.name

    def set_hold(self, unit: Unit, hold: dict[str, str] | None, by: str) -> None:
        with self._lock:
            channel = self.channel(unit)
            channel.hold = hold
            action = "hold" if hold else "release"
            channel.entries().append({"release": channel.current or "", "at": now_iso(), "action": action, "by": by})
            self._save_and_show(unit)

    def kept(self, unit: Unit) -> list[str]:
        """Names of the releases on a unit's shelf, oldest first."""
        folders = (folder.name for folder in (self.releases / unit.shelf).glob("*") if folder.is_dir())
        return sorted(folders, key=lambda name: (_sortable(name), name))

    def drop_previous(self, unit: Unit) -> None:
        """Takes a damaged n-1 out of sight."""
        with self._lock:
            self.channel(unit).previous = None
            self._save_and_show(unit)

    def _links(self, unit: Unit) -> list[tuple[Path, str | None]]:
        """The links of one unit, and what the state says that each must hold; None for no link."""
        channel = self.channel(unit)
        previous = channel.previous if self._settings.back else None
        return [
            (self.root / path, f"../../.releases/{unit.shelf}/{name}" if name else None)
            for path, name in ((unit.path, channel.current), (unit.back_path, previous))
        ]

    def astray(self, unit: Unit) -> bool:
        """True when a link of this unit is missing or does not hold what the state says."""
        return any(target and not _holds(link, target) for link, target in self._links(unit))

    def _save_and_show(self, unit: Unit) -> None:
        self._save_channels()
        self._show(unit)
        self.on_change()

    def _show(self, unit: Unit) -> None:
        """Makes the links of one unit agree with the state."""
        for link, target in self._links(unit):
            with advising("publishing", link):
                if target:
                    if not _holds(link, target):
                        make_directory(link.parent)
                        point(link, target, self.incoming)
                elif self._on_shelf(unit, link) or (link.is_symlink() and not link.exists()):
                    link.unlink()
                    sync_directory(link.parent)

    def _save_channels(self) -> None:
        for channel in self._channels.values():
            # Enough to explain how a channel came to where it is, without growing for ever.
            channel.history = channel.entries()[-200:]
        fields = {
            "format": FORMAT,
            "channels": {path: asdict(channel) for path, channel in sorted(self._channels.items()) if channel.current},
        }
        self._save("channels.json", fields)

    def _save(self, name: str, fields: Any) -> None:
        path = self.state / name
        with advising("writing", path):
            replace(path, _json(fields), self.incoming, _STATE_FILE_MODE)

    def save_seen(self) -> None:
        alive = {key: value for key, value in self._seen.items() if (self.releases / key).is_dir()}
        if alive != _read_json(self.state / "seen.json"):
            self._save("seen.json", alive)

    def save_last_sync(self, fields: dict[str, Any]) -> None:
        self._save("last-sync.json", fields)

    def last_sync(self) -> dict[str, Any]:
        fields = _read_json(self.state / "last-sync.json")
        if not isinstance(fields, dict):
            return {}
        kept = {key: fields[key] for key in ("last_success", "last_import") if isinstance(fields.get(key), str)}
        return {**kept, "last_sync": fields["last_sync"]} if _is_record(fields.get("last_sync")) else kept

    def save_status(self, fields: dict[str, Any]) -> None:
        path = self.root / "status.json"
        with advising("writing", path):
            replace(path, _json(fields), self.incoming)

    # --- pruning ----------------------------------------------------------------------------------------------------

    def prune(self) -> list[str]:
        """Removes releases beyond `retain` per channel. What any channel points at, now or as n-1, always stays."""
        with self._lock:
            wanted = set()
            for path, channel in self._channels.items():
                shelf = unit_of_path(path).shelf
                for name in (channel.current, channel.previous):
                    wanted.add((shelf, name))
                recent = list(dict.fromkeys(entry["release"] for entry in reversed(channel.entries())))
                wanted.update((shelf, name) for name in recent[: self._settings.retain])
            wanted.update(self._linked())
            removed = []
            for folder in sorted(self.releases.glob("*/*")):
                if (folder.parent.name, folder.name) not in wanted:
                    with advising("removing the old release", folder):
                        # Away in one step, so that a run that dies here leaves no half release on the shelf.
                        doomed = self.incoming / unique("pruned")
                        folder.rename(doomed)
                        remove_tree(doomed)
                    removed.append(f"{folder.parent.name}/{folder.name}")
            return removed

    def _linked(self) -> Iterator[tuple[str, str]]:
        """What links in the served tree point at, whoever made them."""
        for link in self.root.glob("*/*/arch_*"):
            target = target_of(link)
            yield target.parent.name, target.name


def _is_record(fields: Any) -> bool:
    if not _has(fields, _RECORD) or not all(_has(unit, _UNIT_RECORD) for unit in fields["units"]):
        return False
    errors = [*fields["errors"], *(unit["error"] for unit in fields["units"] if unit.get("error"))]
    return all(_has(error, _ERROR_RECORD) for error in errors)


def _has(fields: Any, kinds: dict[str, Any]) -> bool:
    return isinstance(fields, dict) and all(isinstance(fields.get(key), kind) for key, kind in kinds.items())


def _last(names: list[str], name: str) -> int:
    """Where a name stands last; behind the end where it does not."""
    return next((at for at in reversed(range(len(names))) if names[at] == name), len(names))


def _sortable(name: str) -> tuple[int, ...]:
    definitions = name.split("-")[0]
    return version_key(definitions) if is_version(definitions) else ()


def _holds(link: Path, target: str) -> bool:
    return link.is_symlink() and os.readlink(str(link)) == target


def _flush(path: Path) -> None:
    descriptor = os.open(str(path), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _json(fields: Any) -> bytes:
    return (json.dumps(fields, indent=2, sort_keys=True) + "\n").encode()


def _read(path: Path) -> bytes | None:
    """The content of a small regular file; None where there is none that can be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def _read_json(path: Path) -> Any:
    """The content of a JSON file; None where it is missing or broken. Missing permissions are an error."""
    try:
        return json.loads(path.read_bytes())
    except PermissionError as error:
        raise os_error(error, "reading", path) from None
    except (OSError, ValueError, RecursionError):
        return None
