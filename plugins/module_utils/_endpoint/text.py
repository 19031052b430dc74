"""Decodes bytes of unknown encoding to text. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import re
import sys

TEXT = type("")
# On Python 2 a character above U+FFFF may be stored as two surrogates, so surrogates are valid there.
_SURROGATE = re.compile("[\ud800-\udfff]") if sys.version_info[0] > 2 else None


def decode(output):
    """Text of what a command or a file gave, whatever its encoding."""
    if isinstance(output, TEXT):
        return output if sys.version_info[0] < 3 else _SURROGATE.sub(_unescaped, output)
    if not isinstance(output, (bytes, bytearray)):
        return ""
    output = bytes(output)
    if output[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return output.decode("utf-16", "replace")
    try:
        return output.decode("utf-8")
    except UnicodeDecodeError:
        return "\n".join(_decode_line(line) for line in output.split(b"\n"))


def _decode_line(line):
    """A line that may be in an older encoding; one that ends within a character lost only that."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as failure:
        if failure.reason == "unexpected end of data":
            return line.decode("utf-8", "replace")
        return line.decode("latin-1")


def _unescaped(match):
    """The byte that Python 3 hid in a surrogate, as Latin-1; other surrogates stand for nothing."""
    number = ord(match.group())
    return chr(number - 0xDC00) if 0xDC80 <= number <= 0xDCFF else "\ufffd"
