"""A zip of Microsoft's repository: its members and the commit that it names. Nothing is unpacked."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import re
import stat
import zipfile
from pathlib import Path
from typing import Iterator

from .. import zips
from ..errors import MirrorError
from ..settings import MIB
from .script_files import MOST_FILE_BYTES, Member, unusable

_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_MOST_LISTED_BYTES = 16 * MIB


@contextlib.contextmanager
def reading_zip(where: str) -> Iterator[None]:
    try:
        yield
    except zips.BROKEN as error:
        raise unusable(f"{where} is not a complete zip: {str(error) or type(error).__name__}") from None


def read_zip(path: Path, where: str) -> tuple[list[tuple[Member, zipfile.ZipInfo]], str | None]:
    """The members of a zip, and the commit that it names.

    Nothing is unpacked. The whole zip is refused if the name of any member leads out of the folder.
    """
    with reading_zip(where):
        _check_end(path)
        with zipfile.ZipFile(str(path)) as archive:
            infos, comment = archive.infolist(), archive.comment
    seen = set()
    for info in infos:
        parts = info.orig_filename.split("/")
        if "\\" in info.orig_filename or "\0" in info.orig_filename or ".." in parts or parts[0] in ("", "~"):
            raise unusable(f"{where} would write outside of its folder: {info.orig_filename[:80]!r}")
        if info.filename in seen:
            raise unusable(f"{where} contains {info.filename[:80]!r} twice")
        seen.add(info.filename)
    links = tuple(info.filename + "/" for info in infos if zips.is_link(info))
    members = [
        (Member(info.filename, info.file_size, _is_plain(info, links), bytes), info)
        for info in infos
        if not info.filename.endswith("/")
    ]
    return members, _commit_of(comment, infos[0].filename.split("/")[0] if infos else "", where)


def _check_end(path: Path) -> None:
    """Refuses a zip whose directory would not fit into memory; `zipfile` reads all of it at once."""
    with path.open("rb") as file:
        listed = zips.EndRecord(file, path.stat().st_size).listed
    if listed > _MOST_LISTED_BYTES:
        raise zipfile.BadZipFile(f"its directory takes {listed} bytes")


def _is_plain(info: zipfile.ZipInfo, links: tuple[str, ...]) -> bool:
    """True for a regular file that is not below a link. Zips that were not made on Unix do not contain the type."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    return kind in (0, stat.S_IFREG) and not info.filename.startswith(links)


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> bytes:
    if info.flag_bits & 1 or info.compress_type not in zips.METHODS:
        raise unusable(f"{where} contains {info.filename[:80]!r} encrypted or with an unusual compression method")
    with archive.open(info) as stream:
        data = stream.read(MOST_FILE_BYTES + 1)
    if len(data) != info.file_size:
        raise unusable(
            f"{info.filename[:80]!r} in {where} does not have the {info.file_size} bytes that its header says"
        )
    return data


def _commit_of(comment: bytes, top: str, where: str) -> str | None:
    """The commit in the comment of a zip that git made. Zips of GitHub have it in the name of the folder too."""
    text = comment.decode("ascii", "replace").strip().lower()
    commit = text if _COMMIT.match(text) else None
    named = re.search(r"-([0-9a-f]{40})\Z", top)
    if commit and named and named[1] != commit:
        raise MirrorError(
            "script_commit",
            f"the zip {where} names two commits: {commit} in its comment, {named[1]} in its folder",
            "Neither GitHub nor `git archive` makes such a zip. Use a zip that one of them made.",
        )
    return commit
