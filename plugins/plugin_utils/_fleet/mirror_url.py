# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Composes the address that endpoints are given from where a mirror is served. Private to the collection."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

PLATFORMS = ("linux", "mac")
_CHANNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_ARCH = re.compile(r"(^|/)arch_[^/]*(/|$)")
_HOST = re.compile(r"[A-Za-z0-9.-]+(:\d+)?(/|$)")


class AddressError(ValueError):
    """An address that no endpoint could use; the text says why and what to give instead."""


def compose(base: str, channel: str = "production", platform: str = "linux") -> str:
    """The address of one channel on the mirror that is served at `base`, as the agent wants it: without `arch_*`."""
    if platform not in PLATFORMS:
        raise AddressError(f"The platform {platform!r} does not exist on a mirror. Use one of: {', '.join(PLATFORMS)}.")
    if _ARCH.search(channel):
        raise AddressError(_arch_advice(channel))
    if not _CHANNEL.fullmatch(channel):
        raise AddressError(
            f"The channel {channel!r} cannot be a folder on a mirror. Use letters, digits, '_' and '-', "
            "for example 'production', 'preview' or 'production_back'."
        )
    text = base.strip()
    if not text:
        raise AddressError(
            "The mirror's address is empty. Give where the mirror is served, for example "
            "'https://mirror.example.com' or '/mnt/mde-mirror'."
        )
    # Before anything quotes the address: a password must not reach a log, and the agent shows its URL to everybody.
    if re.search(r"//[^/]*@", text):
        raise AddressError(
            "The mirror's address holds a user name or password. Agents take no credentials, and `mdatp health` shows "
            "the address to every user of the endpoint. Give the address without them and restrict access by network."
        )
    if _ARCH.search(text):
        raise AddressError(_arch_advice(text))
    root = _directory(text) if text.startswith("/") else _web_address(text)
    if re.search(rf"/({'|'.join(PLATFORMS)})/[^/]+$", root):
        raise AddressError(
            f"The mirror's address {text!r} already ends in a platform and a channel. Give the address of the mirror's "
            f"root, without them; the channel (now {channel!r}) has its own setting."
        )
    address = f"{root}/{platform}/{channel}"
    return address if address.startswith("/") else f"{address}/"


def _directory(text: str) -> str:
    if ".." in text.split("/"):
        raise AddressError(f"The directory {text!r} holds '..'. Give the plain absolute path of the mirror's root.")
    return re.sub("/{2,}", "/", text).rstrip("/")


def _web_address(text: str) -> str:
    if re.search(r"\s", text):
        raise AddressError(f"The mirror's address {text!r} holds a blank. Write blanks of a path as %20.")
    if "://" not in text:
        advice = f"Write 'http://{text}' or 'https://{text}'" if _HOST.match(text) else "Use http:// or https://"
        raise AddressError(
            f"The mirror's address {text!r} is neither a web address nor an absolute directory. {advice}, "
            "or give the absolute path of a mounted directory."
        )
    parts = urlsplit(text)
    scheme = parts.scheme.lower()
    if scheme == "file":
        raise AddressError(f"Agents take no file:// address. Give the directory itself: {parts.path or '/path'!r}.")
    if scheme not in ("http", "https"):
        raise AddressError(
            f"Agents cannot fetch from {scheme}:// ({text!r}). Serve the mirror over http:// or https://, or mount it "
            "on the endpoint and give the absolute path of the mount."
        )
    if not parts.hostname:
        raise AddressError(f"The mirror's address {text!r} names no host. Write '{scheme}://host[:port]'.")
    try:
        valid_port = parts.port != 0
    except ValueError:
        valid_port = False
    if not valid_port:
        raise AddressError(f"The mirror's address {text!r} has a port that does not exist. Use one from 1 to 65535.")
    if parts.query or parts.fragment or text[-1] in "?#":
        raise AddressError(f"The mirror's address {text!r} holds '?' or '#'. The agent appends to it: leave them out.")
    path = re.sub("/{2,}", "/", parts.path).rstrip("/")
    return f"{scheme}://{parts.netloc}{path}"


def _arch_advice(text: str) -> str:
    return (
        f"{text!r} holds an arch_* folder. The agent appends the folder of its own architecture; with one in the "
        "address only some endpoints update. Leave arch_* out."
    )
