"""Verifies that a file is a package: a complete zip whose members are all readable and intact."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import fnmatch
import itertools
import posixpath
import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

from . import zips
from .cancel import Cancel
from .errors import MirrorError
from .settings import PackagePolicy

# The codes of errors that concern the file itself, wherever it came from.
BROKEN_PACKAGE = ("not_a_package", "corrupt_package", "unexpected_content", "size_out_of_bounds")
LOCAL_HEADER = b"PK\x03\x04"
_END64_LOCATOR = b"PK\x06\x07"
_END64_SIZE, _LOCATOR_SIZE = 56, 20
_LONGEST_LINK = 4096
_HEAD = "<4s5H3L2H"
# The value of a size field if the size is in an extra field.
_IN_EXTRA = 0xFFFFFFFF
_MAX_DIRECTORY_BYTES = 16 * 1024 * 1024
# Definitions compress by a factor of two to four. A package that expands beyond both limits is taken for a zip bomb.
_MAX_EXPANSION = 20
_ALWAYS_ALLOWED_EXPANSION_BYTES = 256 * 1024 * 1024
_CHUNK = 1024 * 1024


def check_beginning(data: bytes, content_type: str, where: str) -> None:
    """Refuses a response that cannot become a package, by its first bytes."""
    if data.startswith(LOCAL_HEADER):
        return
    text = data.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")) or "html" in content_type.lower():
        raise MirrorError(
            "not_a_package",
            f"{where} answered with an HTML page instead of a package",
            "A proxy or a login page answers in place of the service. Open the address by hand from this host, and "
            "have it allowed.",
            retriable=True,
        )
    what = "nothing" if not data else f"something that is not a zip (it begins with {data[:8]!r})"
    raise MirrorError(
        "not_a_package",
        f"{where} answered with {what}",
        "Look for a proxy between this host and the service; if there is none, the service is at fault: try later.",
        retriable=True,
    )


def check_size(size: int, policy: PackagePolicy, where: str) -> None:
    if not policy.min_bytes <= size <= policy.max_bytes:
        raise MirrorError(
            "size_out_of_bounds",
            f"{where} has {size} bytes; the limits are {policy.min_bytes} and {policy.max_bytes}",
            "If packages of this size are right, change verify.minBytes or verify.maxBytes in the settings.",
        )


def prove(path: Path, policy: PackagePolicy, where: str, cancel: Cancel) -> None:
    """Raises `MirrorError` unless the file is a whole package that conforms to `policy`. Memory use is bounded."""
    size = path.stat().st_size
    check_size(size, policy, where)
    try:
        with path.open("rb") as file:
            count = _check_frame(file, size)
        with zipfile.ZipFile(str(path)) as package, path.open("rb") as file:
            members = package.infolist()
            if len(members) != count:
                raise zipfile.BadZipFile(f"its directory has {len(members)} members and its end record says {count}")
            _check_members(members, size, policy, where)
            for member in members:
                _check_head(file, member)
                _check_member(package, member, cancel)
                _check_link(package, member, where)
    except zips.BROKEN as error:
        raise _corrupt(where, str(error) or type(error).__name__) from None


def _check_frame(file: BinaryIO, size: int) -> int:
    """Checks that a zip begins with a member and that its parts adjoin up to its end. Returns the number of members."""
    file.seek(0)
    if file.read(4) != LOCAL_HEADER:
        raise zipfile.BadZipFile("it does not begin with a member")
    end = zips.EndRecord(file, size)
    count, directory_size, directory_at, end_at = end.count, end.listed, end.directory_at, end.at
    locator_at = end.at - _LOCATOR_SIZE
    if locator_at >= 0:
        file.seek(locator_at)
        locator = file.read(_LOCATOR_SIZE)
        if locator.startswith(_END64_LOCATOR):
            end_at = struct.unpack("<4sLQL", locator)[2]
            if end_at > size:
                raise zipfile.BadZipFile("its 64-bit end record would lie after its end")
            file.seek(end_at)
            fields64 = struct.unpack("<4sQ2H2L4Q", file.read(_END64_SIZE))
            count, directory_size, directory_at = fields64[7:10]
    if directory_at + directory_size != end_at:
        raise zipfile.BadZipFile("bytes are missing or added before its directory")
    if directory_size > _MAX_DIRECTORY_BYTES:
        raise zipfile.BadZipFile("its directory is unreasonably large")
    return int(count)


def _check_members(members: list[zipfile.ZipInfo], size: int, policy: PackagePolicy, where: str) -> None:
    names = [member.filename for member in members]
    if not any(member.file_size for member in members):
        raise _unexpected(where, "holds no content")
    for name in names:
        if name.startswith("/") or "\\" in name or ".." in name.split("/") or (len(name) > 1 and name[1] == ":"):
            raise _unexpected(where, f"has a member that would be unpacked outside of the target folder: {name[:80]!r}")
    if len({posixpath.normpath(name) for name in names}) != len(names):
        raise _unexpected(where, "names a member twice")
    links = tuple(posixpath.normpath(member.filename) + "/" for member in members if zips.is_link(member))
    if any(posixpath.normpath(name).startswith(links) for name in names):
        raise _unexpected(where, "has a member below a link")
    for member in members:
        if member.compress_type not in zips.METHODS:
            raise _unexpected(where, f"has a member with the unusual compression method {member.compress_type}")
    for pattern in policy.expected_members:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
            raise _unexpected(where, f"lacks a member that matches {pattern!r} (verify.expectedMembers)")
    if sum(member.file_size for member in members) > max(size * _MAX_EXPANSION, _ALWAYS_ALLOWED_EXPANSION_BYTES):
        raise _unexpected(where, f"would unpack to more than {_MAX_EXPANSION} times its size")


def _check_head(file: BinaryIO, member: zipfile.ZipInfo) -> None:
    """Compares the local header of a member with the directory: Python reads the latter, other programs the former."""
    file.seek(member.header_offset)
    fields = struct.unpack(_HEAD, file.read(struct.calcsize(_HEAD)))
    flags, method, crc, packed, size = fields[2], fields[3], *fields[6:9]
    sizes_follow = bool(flags & 0x8)
    same = method == member.compress_type and flags & 0x1 == member.flag_bits & 0x1
    same = same and (sizes_follow or crc == member.CRC)
    for said, right in ((packed, member.compress_size), (size, member.file_size)):
        same = same and (sizes_follow or said in (right, _IN_EXTRA))
    if not same:
        raise zipfile.BadZipFile(f"the local header of {member.filename} does not match the directory")


def _check_member(package: zipfile.ZipFile, member: zipfile.ZipInfo, cancel: Cancel) -> None:
    if member.flag_bits & 0x1:
        raise zipfile.BadZipFile(f"{member.filename} is encrypted")
    # Reading to the end makes zipfile compare the CRC.
    with package.open(member) as content:
        left = member.file_size
        while True:
            data = content.read(_CHUNK)
            if not data:
                break
            left -= len(data)
            cancel.check()
    if left:
        raise zipfile.BadZipFile(f"{member.filename} is shorter than its header says")


def _check_link(package: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> None:
    """Refuses a symbolic link that leads out of the package.

    The target may begin with `..`, but not with more of them than the link has parent folders. No member lies below a
    link (see `_check_members`), so links cannot be combined.
    """
    if not zips.is_link(member):
        return
    target = package.read(member) if member.file_size <= _LONGEST_LINK else b"/"
    parts = [part for part in target.split(b"/") if part != b"."]
    ups = len(list(itertools.takewhile(b"..".__eq__, parts)))
    if target.startswith(b"/") or b".." in parts[ups:] or ups > posixpath.normpath(member.filename).count("/"):
        raise _unexpected(where, f"has a link that leads out of the package: {member.filename[:80]!r}")


def _corrupt(where: str, what: str) -> MirrorError:
    return MirrorError(
        "corrupt_package",
        f"{where} is not a complete zip: {what}",
        "It was damaged during the transfer or at its source. If this happens again, look for a proxy that alters it.",
        retriable=True,
    )


def _unexpected(where: str, what: str) -> MirrorError:
    return MirrorError(
        "unexpected_content",
        f"{where} {what}",
        "Such a package must not reach endpoints. Check which service answers at source.url, and look for a proxy.",
    )
