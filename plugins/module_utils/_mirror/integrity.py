"""Checks whether a stored release is still what was verified. Unchanged files are not read again."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any, Dict, List

from .files import read_json, sha256_of
from .records import METADATA, ZIP, Release
from .store import Store

# A filesystem stores times with a resolution of up to one second; within it, a file can change and keep its times.
_SETTLED_SECONDS = 2

# Size, inode number, mtime and ctime of each file.
Fingerprint = Dict[str, List[int]]


class Integrity:
    """Compares releases with what was verified when they were stored. One object serves all threads of a run.

    Files whose size, inode and times are those of the last comparison are not read again: a later change of the content
    also changes the ctime. `mde-mirror verify` reads everything.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._file = store.root / ".state" / "seen.json"
        seen = read_json(self._file)
        # Fingerprints of packages that earlier runs found whole, and the results of this run.
        self._seen: dict[str, Any] = seen if isinstance(seen, dict) else {}
        self._found: dict[str, tuple[Fingerprint, bool]] = {}

    def known(self, release: Release) -> bool | None:
        """Whether the package is whole; None if that is not known without reading it."""
        fingerprint = _fingerprint(self._store.folder(release))
        if ZIP not in fingerprint or fingerprint[ZIP][0] != release.size:
            return False
        if fingerprint == self._seen.get(release.key):
            return True
        found, whole = self._found.get(release.key, (None, None))
        return whole if found == fingerprint else None

    def is_whole(self, release: Release) -> bool:
        """Whether the package is the one that was verified. The package is read if that is not known."""
        known = self.known(release)
        if known is not None:
            return known
        folder = self._store.folder(release)
        fingerprint = _fingerprint(folder)
        try:
            whole = sha256_of(folder / ZIP) == release.sha256
        except OSError:
            whole = False
        self._note(release, fingerprint, whole)
        return whole

    def verified(self, release: Release) -> None:
        """Records that the package was just verified, or that only the files beside it were written again."""
        self._note(release, _fingerprint(self._store.folder(release)), True)

    def _note(self, release: Release, fingerprint: Fingerprint, whole: bool) -> None:
        self._found[release.key] = (fingerprint, whole)
        self._seen.pop(release.key, None)
        youngest = max((moment for entry in fingerprint.values() for moment in entry[2:]), default=0)
        if whole and time.time_ns() - youngest > _SETTLED_SECONDS * 10**9:
            self._seen[release.key] = fingerprint

    def problems(self, release: Release) -> list[str]:
        """Describes what is wrong with a release. All of its files are read."""
        folder, found = self._store.folder(release), []
        try:
            if sha256_of(folder / ZIP) != release.sha256:
                found.append(f"{ZIP} is not the file that was verified (SHA-256 differs)")
        except OSError as error:
            found.append(f"{ZIP} cannot be read: {error.strerror}")
        for name, data in release.small_files().items():
            if not _holds(folder / name, data):
                found.append(f"{name} is missing or was changed")
        return found

    def changed_seen(self) -> dict[str, Any] | None:
        """The fingerprints to save for the next run; None if the state file already has them."""
        seen = {key: value for key, value in self._seen.items() if (self._store.releases / key).is_dir()}
        return None if seen == read_json(self._file) else seen


def _holds(path: Path, data: bytes) -> bool:
    with contextlib.suppress(OSError):
        return path.read_bytes() == data
    return False


def _fingerprint(folder: Path) -> Fingerprint:
    found: Fingerprint = {}
    for name in (ZIP, "manifest.json", METADATA):
        with contextlib.suppress(OSError):
            stat = (folder / name).lstat()
            found[name] = [stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns]
    return found
