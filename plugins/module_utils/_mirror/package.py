"""Proves that a file is a whole package: a zip with nothing missing, every member readable and intact."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import fnmatch
import itertools
import posixpath
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from .cancel import Cancel
from .errors import MirrorError
from .settings import PackagePolicy

# Codes of the errors that say: this file is no package, whoever brought it.
BROKEN_PACKAGE = ("not_a_package", "corrupt_package", "unexpected_content", "size_out_of_bounds")
LOCAL_HEADER = b"PK\x03\x04"
_END = b"PK\x05\x06"
_END64_LOCATOR = b"PK\x06\x07"
_END_SIZE, _END64_SIZE, _LOCATOR_SIZE = 22, 56, 20
_LONGEST_COMMENT = 65535
_LONGEST_LINK = 4096
_HEAD = "<4s5H3L2H"
# In place of a size that stands in an extra field.
_IN_EXTRA = 0xFFFFFFFF
# Others are not unpacked everywhere, and not in bounded memory.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_MAX_DIRECTORY_BYTES = 16 * 1024 * 1024
# Definitions compress by a factor of two to four; what unpacks to more than both of these is a bomb.
_MAX_EXPANSION = 20
_ALWAYS_ALLOWED_EXPANSION_BYTES = 256 * 1024 * 1024
_CHUNK = 1024 * 1024


def check_beginning(data: bytes, content_type: str, where: str) -> None:
    """Refuses an answer that cannot become a package, by its first bytes."""
    if data.startswith(LOCAL_HEADER):
        return
    text = data.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")) or "html" in content_type.lower():
        raise MirrorError(
            "not_a_package",
            f"{where} answered with an HTML page instead of a package",
            "A proxy, portal or login page answers in place of the service: open the address by hand from this host "
            "and have the address allowed.",
            retriable=True,
        )
    what = "nothing" if not data else f"something that is no zip (it begins with {data[:8]!r})"
    raise MirrorError(
        "not_a_package",
        f"{where} answered with {what}",
        "Check what lies between this host and the service; if nothing does, the service is at fault: try later.",
        retriable=True,
    )


def check_size(size: int, policy: PackagePolicy, where: str) -> None:
    if not policy.min_bytes <= size <= policy.max_bytes:
        raise MirrorError(
            "size_out_of_bounds",
            f"{where} has {size} bytes; allowed are {policy.min_bytes} to {policy.max_bytes}",
            "If packages of this size are right, change verify.minBytes or verify.maxBytes in the settings.",
        )


def prove(path: Path, policy: PackagePolicy, where: str, cancel: Cancel) -> None:
    """Raises `MirrorError` unless the file is a whole package of `policy`'s kind. Memory use is bounded."""
    size = path.stat().st_size
    check_size(size, policy, where)
    try:
        with path.open("rb") as file:
            count = _check_frame(file, size)
        with zipfile.ZipFile(str(path)) as package, path.open("rb") as file:
            members = package.infolist()
            if len(members) != count:
                raise zipfile.BadZipFile(f"its directory has {len(members)} members where {count} are announced")
            _check_members(members, size, policy, where)
            for member in members:
                _check_head(file, member)
                _check_member(package, member, cancel)
                _check_link(package, member, where)
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
    ) as error:
        raise _corrupt(where, str(error) or type(error).__name__) from None


def _check_frame(file: BinaryIO, size: int) -> int:
    """A zip begins with its first member, ends with its end record, and lacks or gains no byte before its directory.

    Returns how many members it announces.
    """
    if file.read(4) != LOCAL_HEADER:
        raise zipfile.BadZipFile("does not begin with a member")
    tail_size = min(size, _END_SIZE + _LONGEST_COMMENT)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_SIZE:
        raise zipfile.BadZipFile("its end is missing")
    fields = struct.unpack("<4s4H2LH", tail[at : at + _END_SIZE])
    count, directory_size, directory_at, comment_size = fields[4:8]
    if at + _END_SIZE + comment_size != len(tail):
        raise zipfile.BadZipFile("bytes follow behind its end")
    end_at = size - tail_size + at
    locator_at = at - _LOCATOR_SIZE
    if locator_at >= 0 and tail[locator_at : locator_at + 4] == _END64_LOCATOR:
        end_at = struct.unpack("<4sLQL", tail[locator_at : locator_at + _LOCATOR_SIZE])[2]
        if end_at > size:
            raise zipfile.BadZipFile("its end record is said to be behind its end")
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
            raise _unexpected(where, f"has a member that would be unpacked elsewhere: {name[:80]!r}")
    if len({posixpath.normpath(name) for name in names}) != len(names):
        raise _unexpected(where, "names a member twice")
    links = tuple(posixpath.normpath(member.filename) + "/" for member in members if _is_link(member))
    if any(posixpath.normpath(name).startswith(links) for name in names):
        raise _unexpected(where, "has a member below a link")
    for member in members:
        if member.compress_type not in _METHODS:
            raise _unexpected(where, f"has a member that is packed by the rare method {member.compress_type}")
    for pattern in policy.expected_members:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
            raise _unexpected(where, f"lacks a member that matches {pattern!r} (verify.expectedMembers)")
    if sum(member.file_size for member in members) > max(size * _MAX_EXPANSION, _ALWAYS_ALLOWED_EXPANSION_BYTES):
        raise _unexpected(where, f"would unpack to more than {_MAX_EXPANSION} times its size")


def _check_head(file: BinaryIO, member: zipfile.ZipInfo) -> None:
    """Python believes the directory at the end alone; others unpack by what stands before each member."""
    file.seek(member.header_offset)
    fields = struct.unpack(_HEAD, file.read(struct.calcsize(_HEAD)))
    flags, method, crc, packed, size = fields[2], fields[3], *fields[6:9]
    told_behind = bool(flags & 0x8)
    same = method == member.compress_type and flags & 0x1 == member.flag_bits & 0x1
    same = same and (told_behind or crc == member.CRC)
    for told, right in ((packed, member.compress_size), (size, member.file_size)):
        same = same and (told_behind or told in (right, _IN_EXTRA))
    if not same:
        raise zipfile.BadZipFile(f"{member.filename} is another in front of it than in the directory")


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
        raise zipfile.BadZipFile(f"{member.filename} is shorter than it says")


def _check_link(package: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> None:
    """Refuses a symbolic link that leads out of the package.

    It may go up first, as far as its own folder is deep. Nothing lies below a link (see `_check_members`), so that no
    other link makes more of that.
    """
    if not _is_link(member):
        return
    target = package.read(member) if member.file_size <= _LONGEST_LINK else b"/"
    parts = [part for part in target.split(b"/") if part != b"."]
    ups = len(list(itertools.takewhile(b"..".__eq__, parts)))
    if target.startswith(b"/") or b".." in parts[ups:] or ups > posixpath.normpath(member.filename).count("/"):
        raise _unexpected(where, f"has a link that leads elsewhere: {member.filename[:80]!r}")


def _is_link(member: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(member.external_attr >> 16)


def _corrupt(where: str, what: str) -> MirrorError:
    return MirrorError(
        "corrupt_package",
        f"{where} is no whole zip: {what}",
        "It was damaged on the way or at its source. If it happens again, look for a proxy that alters downloads.",
        retriable=True,
    )


def _unexpected(where: str, what: str) -> MirrorError:
    return MirrorError(
        "unexpected_content",
        f"{where} {what}",
        "Such a package must not reach endpoints. Check which service answers at source.url and what lies between.",
    )
