"""The folder in which a sync or an import works. Its lock allows only one of them at a time."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import Iterator

from .errors import MirrorError
from .files import FILE_MODE, advising, make_directory, remove_tree, sync_directory, unique, write
from .lock import locked
from .privileges import acting_as_owner
from .records import ZIP, Release
from .units import Unit

# The free space in bytes that a download must leave, for the state files of this and the next runs.
SPARE_BYTES = 4 * 1024 * 1024
_DOWNLOAD = ".download"
# The folder of a session, which has another lock (session.py).
SESSION = "session"


class Workspace:
    """The folder `.incoming` of one root. Clients never see it."""

    def __init__(self, root: Path, retain: int) -> None:
        self.root = root
        self.folder = root / ".incoming"
        self.state = root / ".state"
        self._retain = retain
        self._lock = threading.Lock()
        self._reserved = 0

    @contextlib.contextmanager
    def occupied(self, units: list[Unit]) -> Iterator[None]:
        """Held by one sync or import at a time. Leftovers of a killed run are removed, except the downloads of `units`.

        Raises `LockedError` when another process is at work.
        """
        kept = {SESSION, *(self.download(unit).name for unit in units)}
        with acting_as_owner(self.root):
            prepare(self.root)
            with advising("preparing", self.root):
                probe = self.folder / unique("probe")
                probe.mkdir()
                probe.rmdir()
            with locked(self.state / "sync.lock"):
                with advising("tidying", self.folder):
                    for leftover in self.folder.iterdir():
                        if leftover.name not in kept:
                            remove_tree(leftover)
                yield

    def download(self, unit: Unit) -> Path:
        """The folder of the download of a unit's package until it is complete."""
        return self.folder / (unit.slug + _DOWNLOAD)

    def discard_download(self, unit: Unit) -> None:
        with advising("tidying", self.folder):
            remove_tree(self.download(unit))

    @contextlib.contextmanager
    def reserved(self, wanted: int) -> Iterator[None]:
        """Reserves space for `wanted` bytes beside earlier reservations. Raises `MirrorError` if it is too small."""
        with self._lock:
            figures = os.statvfs(str(self.folder))
            free = figures.f_bavail * figures.f_frsize - self._reserved
            if wanted + SPARE_BYTES > free:
                raise MirrorError(
                    "disk_full",
                    f"{self.root} has {max(0, free) >> 20} MiB free, but a download needs "
                    f"{(wanted + SPARE_BYTES) >> 20} MiB",
                    f"Free space on that filesystem, or lower `retain` (now {self._retain}). What is published was not "
                    "touched.",
                )
            self._reserved += wanted
        try:
            yield
        finally:
            with self._lock:
                self._reserved -= wanted

    def prepared(self, package: Path, release: Release) -> Path:
        """Moves a verified package to a new folder, writes the files beside it, and returns the folder."""
        folder = self.folder / unique("release")
        with advising("storing", folder):
            package.chmod(FILE_MODE)
            _flush(package)
            make_directory(folder)
            package.replace(folder / ZIP)
            # rename(2) does nothing if both are hard links to one file, as a killed adoption leaves them.
            remove_tree(package)
            for name, data in release.small_files().items():
                write(folder / name, data)
            sync_directory(folder)
        return folder


def prepare(root: Path) -> None:
    """Makes the root and its folders. Raises `MirrorError` if that is not allowed."""
    with advising("preparing", root):
        make_directory(root)
        for name in (".releases", ".state"):
            make_directory(root / name)
        make_directory(root / ".incoming", 0o700)


def _flush(path: Path) -> None:
    descriptor = os.open(str(path), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
