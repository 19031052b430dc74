"""Releases that never change, and the links that clients see. Everything visible appears by one rename(2).

Each method that writes takes the staging folder of a session (session.py), which exists while the session is open.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import Iterator

from .files import (
    advising,
    make_directory,
    read_json,
    read_or_none,
    remove_tree,
    replace,
    replace_symlink,
    sha256_of,
    sync_directory,
    target_of,
    unique,
)
from .records import METADATA, RECOVERED, ZIP, Channel, Release, read_release
from .times import now_iso
from .units import Unit
from .versions import is_version, version_key


class Store:
    """The releases below one root. One object serves all threads of a run."""

    def __init__(self, root: Path, previous_links: bool) -> None:
        self.root = root
        self.releases = root / ".releases"
        self._previous_links = previous_links
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], Release] = {}
        self._lost: set[tuple[str, str]] = set()

    # --- releases -----------------------------------------------------------------------------------------------

    def folder(self, release: Release) -> Path:
        return self.releases / release.key

    def folder_of(self, unit: Unit, name: str) -> Path:
        return self.releases / unit.pool / name

    def release(self, unit: Unit, name: str) -> Release | None:
        """The stored release of that name, from its metadata; None if the metadata is missing or damaged."""
        return self._read(unit.pool, name)

    def _read(self, pool: str, name: str) -> Release | None:
        with self._lock:
            known = self._known.get((pool, name))
        if known is not None:
            return known
        fields = read_json(self.releases / pool / name / METADATA)
        with contextlib.suppress(KeyError, TypeError):
            release = read_release(fields)
            if release.name == name and release.pool == pool:
                return self._remember(release)
        return None

    def needs_recovery(self, unit: Unit, name: str) -> bool:
        """True if the metadata of a release is lost and `recovered` was not tried yet."""
        return (unit.pool, name) not in self._lost and (self.folder_of(unit, name) / ZIP).is_file()

    def recovered(self, unit: Unit, name: str) -> Release | None:
        """A release whose metadata is lost, rebuilt from its name and package; None if they do not match."""
        folder = self.folder_of(unit, name)
        definitions, engine, beginning = ([*name.split("-"), "", ""])[:3]
        with contextlib.suppress(OSError):
            digest = sha256_of(folder / ZIP)
            if digest.startswith(beginning) and is_version(definitions) and is_version(engine):
                size = (folder / ZIP).stat().st_size
                found = Release(unit.pool, definitions, engine, None, digest, size, now_iso(), RECOVERED)
                return self._remember(found)
        self._lost.add((unit.pool, name))
        return None

    def _remember(self, release: Release) -> Release:
        with self._lock:
            return self._known.setdefault((release.pool, release.name), release)

    def names(self, unit: Unit) -> list[str]:
        """Names of the releases that are stored for a platform and architecture, oldest first."""
        folders = (folder.name for folder in (self.releases / unit.pool).glob("*") if folder.is_dir())
        return sorted(folders, key=lambda name: (_sortable(name), name))

    def add(self, prepared: Path, release: Release, staging: Path) -> Release:
        """Stores a release whose files are in the folder `prepared`, on the same filesystem.

        If the release is already stored, its package is replaced, which repairs a damaged one.
        """
        folder = self.folder(release)
        stored = self._read(release.pool, release.name) or release
        with advising("storing", folder):
            if stored.sha256 == release.sha256 and folder.is_dir():
                (prepared / ZIP).replace(folder / ZIP)
                sync_directory(folder)
                self.write_small_files(stored, staging)
                remove_tree(prepared)
                return stored
            make_directory(folder.parent)
            if folder.is_dir():
                folder.rename(staging / unique("replaced"))
            prepared.rename(folder)
            sync_directory(folder.parent)
        return self._remember(release)

    def small_files_differ(self, release: Release) -> bool:
        folder = self.folder(release)
        return any(read_or_none(folder / name) != data for name, data in release.small_files().items())

    def write_small_files(self, release: Release, staging: Path) -> None:
        """Writes manifest and metadata again if they differ."""
        for name, data in release.small_files().items():
            path = self.folder(release) / name
            if read_or_none(path) != data:
                with advising("writing", path):
                    replace(path, data, staging)

    def remove(self, folder: Path, staging: Path) -> None:
        """Removes a release. It is moved away first, so that a killed run never leaves half of it."""
        with advising("removing the old release", folder):
            doomed = staging / unique("pruned")
            folder.rename(doomed)
            remove_tree(doomed)
        with self._lock:
            self._known.pop((folder.parent.name, folder.name), None)

    def stored(self) -> list[Path]:
        """The folders of all releases."""
        return sorted(self.releases.glob("*/*"))

    # --- links --------------------------------------------------------------------------------------------------

    def visible(self) -> Iterator[tuple[str, Path]]:
        """Every folder or link in the served tree, with its path below the root."""
        # Folders whose names begin with a dot are not served, and change while a sync is at work.
        tops = (folder for folder in self.root.glob("[!.]*") if folder.is_dir())
        for link in sorted(link for top in tops for link in top.glob("*/arch_*")):
            yield link.relative_to(self.root).as_posix(), link

    def linked(self) -> Iterator[tuple[str, str]]:
        """The targets of all links in the served tree, whoever made them, as the last two parts of their paths."""
        for _path, link in self.visible():
            target = target_of(link)
            yield target.parent.name, target.name

    def linked_release(self, unit: Unit, path: str) -> str | None:
        """The release of a unit that the link at `path` leads to."""
        link = self.root / path
        if link.is_symlink() and target_of(link).parent == target_of(self.releases / unit.pool):
            return target_of(link).name
        return None

    def links_differ(self, unit: Unit, channel: Channel) -> bool:
        """True when a link of this unit is missing or is not the one that the channel asks for."""
        return any(target and not _is_link_to(link, target) for link, target in self._links(unit, channel))

    def link(self, unit: Unit, channel: Channel, staging: Path) -> None:
        """Makes the links of one unit agree with its channel."""
        for link, target in self._links(unit, channel):
            with advising("publishing", link):
                if target:
                    if not _is_link_to(link, target):
                        make_directory(link.parent)
                        replace_symlink(link, target, staging)
                elif self._is_obsolete(unit, link):
                    link.unlink()
                    sync_directory(link.parent)

    def _is_obsolete(self, unit: Unit, link: Path) -> bool:
        ours = self.linked_release(unit, link.relative_to(self.root).as_posix()) is not None
        return ours or (link.is_symlink() and not link.exists())

    def _links(self, unit: Unit, channel: Channel) -> list[tuple[Path, str | None]]:
        """The links of one unit with the target that each must have; None for no link."""
        previous = channel.previous if self._previous_links else None
        return [
            (self.root / path, f"../../.releases/{unit.pool}/{name}" if name else None)
            for path, name in ((unit.path, channel.current), (unit.back_path, previous))
        ]

    def wrong_links(self, unit: Unit, channel: Channel) -> list[str]:
        """The paths of a unit's links that do not lead to the release that the channel names."""
        return [
            link.relative_to(self.root).as_posix()
            for link, target in self._links(unit, channel)
            if target and target_of(link) != target_of(link.parent / target)
        ]


def _is_link_to(link: Path, target: str) -> bool:
    return link.is_symlink() and os.readlink(str(link)) == target


def _sortable(name: str) -> tuple[int, ...]:
    definitions = name.split("-")[0]
    return version_key(definitions) if is_version(definitions) else ()
