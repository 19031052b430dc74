"""Adopts a folder that Microsoft's script filled: nothing is downloaded, and clients always see the same files."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from .cancel import Cancel
from .errors import MirrorError
from .files import advising, remove_tree, sha256_of, unique
from .records import ADOPTED, MANIFEST, ZIP, Channel, Release
from .session import Mirror, MirrorSession
from .settings import PackagePolicy
from .times import now_iso
from .units import Unit
from .versions import Versions, from_manifest
from .workspace import Workspace


class Adoption(NamedTuple):
    """The releases in the two folders of a unit that can be adopted, by path, and the folders with a broken n-1."""

    releases: dict[str, Release]
    broken: tuple[Path, ...]
    problems: tuple[MirrorError, ...]

    def previous_name(self, unit: Unit) -> str | None:
        """The release in the `_back` folder."""
        release = self.releases.get(unit.back_path)
        return release.name if release else None


def is_adoptable(root: Path, unit: Unit, channel: Channel) -> bool:
    """True if a folder is at the path of the channel's link and the mirror has no record of the channel yet.

    If there is a record, somebody else put the folder there, and the link replaces it.
    """
    folder = root / unit.path
    return channel.current is None and folder.is_dir() and not folder.is_symlink()


def claimed_versions(root: Path, unit: Unit) -> Versions | None:
    """The versions in the manifest that Microsoft's script left; nothing is verified."""
    try:
        return from_manifest((root / unit.path / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None


def examine(root: Path, unit: Unit, policy: PackagePolicy, cancel: Cancel) -> Adoption:
    """Verifies the packages in a unit's folder and in its `_back` folder. Nothing is changed."""
    from .package import BROKEN_PACKAGE

    releases: dict[str, Release] = {}
    broken: list[Path] = []
    problems: list[MirrorError] = []
    for path in (unit.path, unit.back_path):
        folder = root / path
        if folder.is_symlink() or not folder.is_dir() or not any(folder.iterdir()):
            continue
        try:
            releases[path] = _examine_folder(unit, folder, policy, cancel)
        except MirrorError as error:
            problems.append(error)
            if path == unit.back_path and error.code in BROKEN_PACKAGE:
                broken.append(folder)
    return Adoption(releases, tuple(broken), tuple(problems))


def _examine_folder(unit: Unit, folder: Path, policy: PackagePolicy, cancel: Cancel) -> Release:
    from .package import prove

    where = f"the package that Microsoft's script left in {folder}"
    with advising("adopting", folder):
        if not (folder / ZIP).is_file():
            raise _not_adopted(f"{where} has no {ZIP}")
        prove(folder / ZIP, policy, where, cancel)
        try:
            versions = from_manifest((folder / MANIFEST).read_bytes())
        except (FileNotFoundError, ValueError) as error:
            raise _not_adopted(f"{where} has no usable {MANIFEST}: {error}") from None
        digest = sha256_of(folder / ZIP)
        size = (folder / ZIP).stat().st_size
    return Release(unit.pool, versions.definitions, versions.engine, None, digest, size, now_iso(), ADOPTED)


def _not_adopted(what: str) -> MirrorError:
    return MirrorError("not_adopted", what, "No action is needed: the sync replaces the package with a new download.")


def adopt(mirror: Mirror, workspace: Workspace, unit: Unit, adoption: Adoption) -> None:
    """Makes the unit serve the releases that were found in its folders."""
    prepared = {path: _prepare(mirror.root / path, workspace, release) for path, release in adoption.releases.items()}

    def work(session: MirrorSession) -> None:
        channel = session.state.channel(unit)
        names = {path: session.add(folder, adoption.releases[path]).name for path, folder in prepared.items()}
        for folder in adoption.broken:
            session.remove_folder(folder)
        adopted = channel.adopt(names.get(unit.path), names.get(unit.back_path))
        if channel.current is None and adopted.current:
            session.set_channel(unit, adopted)

    try:
        mirror.change(work)
    finally:
        for folder in prepared.values():
            remove_tree(folder)


def _prepare(folder: Path, workspace: Workspace, release: Release) -> Path:
    """Prepares a hard link, not a copy, of the package. Clients use the old folder until a link replaces it."""
    named = workspace.folder / unique("adopted")
    with advising("adopting", folder):
        os.link(str(folder / ZIP), str(named))
    try:
        return workspace.prepared(named, release)
    finally:
        remove_tree(named)
