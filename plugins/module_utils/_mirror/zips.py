"""Common parts of all code that reads zips: the end record, the types of members, and the errors of a broken zip."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from typing import BinaryIO

# Other methods are not supported everywhere, and not all unpack in bounded memory.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What `zipfile` raises for a file that is not an intact zip.
BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)
_END = b"PK\x05\x06"
_END_SIZE = 22
_LONGEST_COMMENT = 65535


class EndRecord:
    """The end of central directory record of a zip of `size` bytes. Raises `BadZipFile` unless the zip ends with it.

    `at` is its position. `listed`, `directory_at` and `count` are the size of the directory in bytes, its position, and
    the number of members, as a zip without 64-bit records has them.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        tail_size = min(size, _END_SIZE + _LONGEST_COMMENT)
        file.seek(size - tail_size)
        tail = file.read(tail_size)
        at = tail.rfind(_END)
        if at < 0 or len(tail) - at < _END_SIZE:
            raise zipfile.BadZipFile("its end record is missing")
        fields = struct.unpack("<4s4H2LH", tail[at : at + _END_SIZE])
        self.count, self.listed, self.directory_at, comment_size = fields[4:8]
        if at + _END_SIZE + comment_size != len(tail):
            raise zipfile.BadZipFile("there are bytes after its end record")
        self.at = size - tail_size + at


def is_link(member: zipfile.ZipInfo) -> bool:
    """True for a symbolic link."""
    return stat.S_ISLNK(member.external_attr >> 16)
