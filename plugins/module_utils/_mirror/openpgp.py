"""Files with OpenPGP keys (RFC 4880, RFC 9580): their armour, and whether they have the keys that they should have."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import binascii
import re
from typing import Iterator

_ARMOR = re.compile(rb"-----BEGIN PGP [A-Z ]+-----\s*?\n(.*?)-----END PGP [A-Z ]+-----", re.DOTALL)
_SECRET_KEY, _PUBLIC_KEY, _SECRET_SUBKEY = 5, 6, 7
# How many numbers of variable length the public part of a key has, and the length of those that have a fixed one.
_NUMBERS = {1: 2, 2: 2, 3: 2, 16: 3, 17: 4, 18: 1, 19: 1, 22: 1}
_FIXED = {25: 32, 26: 56, 27: 32, 28: 57}
_WITH_CURVE, _WITH_PARAMETERS = (18, 19, 22), 18


def binary(data: bytes) -> bytes:
    """Keys without armour. The data may be binary, or have one or more armoured blocks. Raises `ValueError`."""
    blocks = _ARMOR.findall(data)
    try:
        return b"".join(_dearmored(block) for block in blocks) if blocks else data
    except binascii.Error as error:
        raise ValueError("the armour is damaged") from error


def _dearmored(block: bytes) -> bytes:
    """The bytes of an armoured block: its headers end with an empty line, and a line with `=` has its checksum."""
    lines = [line.strip() for line in block.splitlines()]
    body = lines[lines.index(b"") + 1 :] if b"" in lines else lines
    return base64.b64decode(b"".join(line for line in body if not line.startswith(b"=")), validate=True)


def armored(data: bytes) -> str:
    """Public keys, binary or armoured, as one armoured block."""
    text = base64.b64encode(binary(data)).decode("ascii")
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN PGP PUBLIC KEY BLOCK-----", "", *lines, "-----END PGP PUBLIC KEY BLOCK-----", ""])


def fault_of_public_keys(data: bytes) -> str | None:
    """Why a file must not be trusted as a file of public keys; None if it may be."""
    tags = [tag for tag, _body in _packets(data)]
    if _SECRET_KEY in tags or _SECRET_SUBKEY in tags:
        return (
            "contains a secret key, which hosts that only check signatures must not have. Export the public part: "
            "`gpg --export --armor KEY-ID`."
        )
    if tags[:1] != [_PUBLIC_KEY]:
        return "is not an exported OpenPGP key. Export it: `gpg --export --armor KEY-ID`."
    return None


def fault_of_secret_key(data: bytes) -> str | None:
    """Why gpg could not sign with a file, as far as the file shows it; None if it can."""
    packets = list(_packets(data))
    secret = [body for tag, body in packets if tag in (_SECRET_KEY, _SECRET_SUBKEY)]
    if packets and packets[0][0] == _PUBLIC_KEY and not secret:
        return "contains a public key only. Export the secret key: `gpg --export-secret-keys --armor KEY-ID`."
    if not packets or packets[0][0] != _SECRET_KEY:
        return "is not an exported OpenPGP key. Export it: `gpg --export-secret-keys --armor KEY-ID`."
    if len([tag for tag, _body in packets if tag == _SECRET_KEY]) > 1:
        return "contains several secret keys. Export one of them: `gpg --export-secret-keys --armor KEY-ID`."
    if any(_has_passphrase(body) for body in secret):
        return (
            "contains a secret key with a passphrase, which nobody can enter on the host. Remove the passphrase "
            "(`gpg --edit-key KEY-ID passwd`), or make a key without one, and export it again."
        )
    return None


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The tag and the body of each packet. It ends at what is not a packet with a known length."""
    try:
        rest = binary(data)
        while rest and rest[0] & 0x80:
            tag, start, length = _header(rest)
            if start + length > len(rest):
                return
            yield tag, rest[start : start + length]
            rest = rest[start + length :]
    except (ValueError, IndexError):
        return


def _header(data: bytes) -> tuple[int, int, int]:
    """The tag of the first packet, and where its body begins, and its length."""
    if data[0] & 0x40:
        tag, first = data[0] & 0x3F, data[1]
        if first < 192:
            return tag, 2, first
        if first < 224:
            return tag, 3, ((first - 192) << 8) + data[2] + 192
        if first < 255:
            raise ValueError("only a data packet may have a partial length")
        return tag, 6, int.from_bytes(data[2:6], "big")
    size = 1 << (data[0] & 3)
    if size == 8:
        raise ValueError("only a data packet may have no length")
    return (data[0] & 0x3C) >> 2, 1 + size, int.from_bytes(data[1 : 1 + size], "big")


def _has_passphrase(body: bytes) -> bool:
    """True if the secret part of a key is encrypted. False for keys that this code does not know; gpg judges those."""
    try:
        # Parts: version, time (4 bytes), algorithm, public part, usage of a passphrase, what derives a key from it.
        version, algorithm, at = body[0], body[5], 6
        if version > 4:
            at += 4 + int.from_bytes(body[6:10], "big")
        elif algorithm in _FIXED:
            at += _FIXED[algorithm]
        else:
            at += 1 + body[at] if algorithm in _WITH_CURVE else 0
            for _number in range(_NUMBERS[algorithm]):
                at += 2 + (int.from_bytes(body[at : at + 2], "big") + 7) // 8
            at += 1 + body[at] if algorithm == _WITH_PARAMETERS else 0
        usage = body[at]
    except (IndexError, KeyError):
        return False
    # GnuPG writes this instead of a primary key that is elsewhere. Its subkeys sign.
    return usage != 0 and b"GNU" not in body[at : at + 10]
