"""The files of Microsoft's script: finds those that are needed in a folder, a zip or a repository."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Callable, NamedTuple

from ..errors import MirrorError
from ..files import advising, make_directory, sync_directory, write
from ..settings import MIB

BASH, POWERSHELL = "xplat_offline_updates_download.sh", "xplat_offline_updates_download.ps1"
HOME = "linux/definition_downloader"
MOST_FETCHED_BYTES = 1024 * MIB
MOST_FILE_BYTES = MIB
_SCRIPTS = (BASH, POWERSHELL)
# Files beside the script that the script may call. The operator's own settings are never read and never copied.
_BESIDE = (".sh", ".ps1", ".psm1")
_OPERATORS = ("settings.json", "settings.ps1")
_VERSION = "VERSION"
_MOST_FILES = 64
_HINT = (
    "Check source.script.url: it must be Microsoft's repository mdatp-xplat or a copy of it, as a git repository or "
    "as a zip."
)


class Member(NamedTuple):
    """One file of a folder, zip or repository. `regular` is False for links and special files."""

    name: str
    size: int
    regular: bool
    read: Callable[[], bytes]


def gather(members: list[Member], where: str) -> dict[str, bytes]:
    """The script and the files that it needs. Raises `MirrorError` if the script is missing or not a regular file."""
    folder = _folder_of_the_script(members)
    if folder is None:
        raise MirrorError(
            "script_missing",
            f"{where} contains neither {BASH} nor {POWERSHELL}",
            f"It must be Microsoft's repository mdatp-xplat or its folder {HOME}. source.script.path takes a clone or "
            "an unpacked zip, source.script.url takes the address of the repository or of a zip.",
        )
    version = folder.parents[1] / _VERSION if len(folder.parts) > 1 else None
    found: dict[str, bytes] = {}
    for member in sorted(members, key=lambda member: PurePosixPath(member.name).name not in _SCRIPTS):
        path = PurePosixPath(member.name)
        beside = path.parent == folder and path.suffix in _BESIDE and path.name not in _OPERATORS
        if not beside and path != version:
            continue
        usable = member.regular and member.size <= MOST_FILE_BYTES
        if beside and path.name in _SCRIPTS and not usable:
            what = f"has {member.size} bytes" if member.regular else "is a link or another special file"
            raise unusable(f"in {where}, {path.name} {what}, so it cannot be the script")
        if usable and len(found) < _MOST_FILES:
            found[f"{HOME}/{path.name}" if beside else _VERSION] = member.read()
    return found


def _folder_of_the_script(members: list[Member]) -> PurePosixPath | None:
    """The folder of the script: as in Microsoft's repository, or at the top; in a zip it may be one folder deeper."""
    home = PurePosixPath(HOME).parts
    places = ((), home[1:], home)
    found = []
    for member in members:
        path = PurePosixPath(member.name)
        parts = path.parent.parts
        if path.name in _SCRIPTS and (parts in places or parts[1:] in places):
            found.append((parts[-len(home) :] != home, len(parts), path.parent))
    return min(found)[2] if found else None


def in_folder(folder: Path) -> dict[str, bytes]:
    """The script in a folder that the operator keeps: a clone, or the script's own folder."""
    base = next((path for path in (folder / HOME, folder) if any((path / n).is_file() for n in _SCRIPTS)), folder)
    members = []
    with advising("reading", base):
        # The file VERSION is at the top of the repository, even if the settings name the folder of the script itself.
        paths = {f"{HOME}/{path.name}": path for path in (base.iterdir() if base.is_dir() else ())}
        if base.as_posix().endswith(f"/{HOME}"):
            paths[_VERSION] = base.parents[1] / _VERSION
        for name, path in paths.items():
            if path.is_file():
                members.append(Member(name, path.stat().st_size, True, path.read_bytes))
        return gather(members, str(folder))


def place(folder: Path, files: dict[str, bytes], flush: bool = False) -> None:
    """Writes the files of a copy below a new folder."""
    for name, data in files.items():
        path = folder / name
        make_directory(path.parent)
        write(path, data)
        if flush:
            sync_directory(path.parent)


def unusable(what: str) -> MirrorError:
    return MirrorError("script_origin", what, _HINT)


def too_large(where: str) -> MirrorError:
    return MirrorError("size_out_of_bounds", f"{where} is larger than {MOST_FETCHED_BYTES >> 20} MiB", _HINT)
