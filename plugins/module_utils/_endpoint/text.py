"""Decodes bytes of unknown encoding, and masks secrets in text. Private to the mde.offline collection."""
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
# User and password of an address inside a text. In doubt, it matches too much rather than too little.
_USER = re.compile(r"""(?<=://)[^\s"'<>]*@""")
_PLAIN_HOST = re.compile(r"^[^/?#@:]*(:[0-9]*)?([/?#]|$)")
HIDDEN = "***"
LONGEST_QUOTE = 40


def masked(text):
    """The text without users and passwords of the addresses in it."""
    return _USER.sub(HIDDEN + "@", text)


def quoted(text):
    """The beginning of a text from elsewhere, in one line: enough to recognise its kind, too little to leak a file."""
    # Masking takes long for long texts, and has to come before the cut, which may remove the sign after a password.
    return " ".join(masked(text[:1000]).split())[:LONGEST_QUOTE]


def masked_address(address, hidden=HIDDEN):
    """An address, with or without a scheme, without its user and password, whatever characters they have."""
    scheme, sign, rest = address.partition("://")
    if not sign:
        scheme, rest = "", address
    if "@" not in rest or _PLAIN_HOST.match(rest):
        return address
    return scheme + sign + hidden + "@" + rest.rpartition("@")[2]


def decode(output):
    """The text of bytes from a command or a file, in any encoding."""
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
    """Decodes one line: as UTF-8, even if its last character is cut off, or else as Latin-1."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as failure:
        if failure.reason == "unexpected end of data":
            return line.decode("utf-8", "replace")
        return line.decode("latin-1")


def _unescaped(match):
    """Decodes the byte that Python 3 escaped as a surrogate as Latin-1; other surrogates are invalid."""
    number = ord(match.group())
    return chr(number - 0xDC00) if 0xDC80 <= number <= 0xDCFF else "\ufffd"
