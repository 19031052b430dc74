"""Takes over a folder that Microsoft's script filled: nothing is downloaded, and clients always see the same files."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

from .cancel import Cancel
from .errors import MirrorError
from .files import advising, remove_tree, sha256_of, unique
from .package import BROKEN_PACKAGE, prove
from .records import MANIFEST, ZIP, Release
from .settings import Proof
from .store import Store
from .times import now_iso
from .units import Unit
from .versions import Versions, from_manifest


def left_by_script(store: Store, unit: Unit) -> Versions | None:
    """What a folder that Microsoft's script filled says it serves."""
    try:
        return from_manifest((store.root / unit.path / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None


def adopt(store: Store, unit: Unit, proof: Proof, cancel: Cancel) -> tuple[Release | None, list[MirrorError]]:
    """Makes releases of a unit's folder and of its `_back`.

    Returns the release that is served now, and what could not be taken over.
    """
    adopted: dict[str, Release] = {}
    problems: list[MirrorError] = []
    for path in (unit.path, unit.back_path):
        folder = store.root / path
        if folder.is_symlink() or not folder.is_dir() or not any(folder.iterdir()):
            continue
        try:
            adopted[path] = _adopt_folder(store, unit, folder, proof, cancel)
        except MirrorError as error:
            problems.append(error)
            if path == unit.back_path and error.code in BROKEN_PACKAGE:
                with advising("removing", folder):
                    # In one step, so that nobody sees half of it.
                    doomed = store.incoming / unique("broken")
                    folder.rename(doomed)
                    remove_tree(doomed)
    current, previous = adopted.get(unit.path), adopted.get(unit.back_path)
    if current is not None or previous is not None:
        store.take_over(unit, current, previous)
    return current, problems


def _adopt_folder(store: Store, unit: Unit, folder: Path, proof: Proof, cancel: Cancel) -> Release:
    where = f"the package that Microsoft's script left in {folder}"
    staged = store.incoming / unique("adopted")
    with advising("adopting", folder):
        if not (folder / ZIP).is_file():
            raise _not_adopted(f"{where} has no {ZIP}")
        prove(folder / ZIP, proof, where, cancel)
        try:
            versions = from_manifest((folder / MANIFEST).read_bytes())
        except (FileNotFoundError, ValueError) as error:
            raise _not_adopted(f"{where} has no usable {MANIFEST}: {error}") from None
        digest = sha256_of(folder / ZIP)
        size = (folder / ZIP).stat().st_size
        # A second name costs no copy, and the one that clients use stays until the channel points at the release.
        os.link(str(folder / ZIP), str(staged))
    release = Release(unit.shelf, versions.definitions, versions.engine, None, digest, size, now_iso(), "adopted")
    return store.keep(unit, staged, release)


def _not_adopted(what: str) -> MirrorError:
    return MirrorError("not_adopted", what, "Nothing to do: the sync replaces it by a fresh download.")
