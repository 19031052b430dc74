# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Composes the address of a channel from the root of a mirror. Private to the collection."""

from __future__ import annotations

import ipaddress
import re

PLATFORMS = ("linux", "mac")
_CHANNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_ARCH = re.compile(r"(^|/)arch_[^/]*(/|$)", re.IGNORECASE)
_FILE = re.compile(r"(^|/)([^/]*\.zip|manifest\.json)(/|$)", re.IGNORECASE)
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?(/|$)")
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)([?#].*)?", re.DOTALL)
_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?", re.DOTALL)


class AddressError(ValueError):
    """The address cannot be used by an endpoint; the message says why and what to give instead."""


def compose(base: str, channel: str = "production", platform: str = "linux") -> str:
    """The address of one channel of the mirror at `base`, in the form that the agent takes: without `arch_*`."""
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
            "The mirror's address is empty. Give the address at which the mirror is served, for example "
            "'https://mirror.example.com' or '/mnt/mde-mirror'."
        )
    # This check comes first, because the messages below quote the address and a password must not reach a log.
    encoded = re.match(r"([^/]*//)?[^/]*%40", text)
    if re.search(r"//[^/]*@", text) or ("@" in text and not text.startswith("/")) or encoded:
        raise AddressError(
            "The mirror's address contains a user name or a password. Agents take no credentials, and `mdatp health` "
            "shows the address to every user of the endpoint. Remove them, and restrict access by network."
        )
    path = text if text.startswith("/") else text.partition("://")[2].partition("/")[2]
    if _ARCH.search(path):
        raise AddressError(_arch_advice(text))
    if _FILE.search(path):
        raise AddressError(
            f"{text!r} is the address of a file. The agent appends the names of the files. Give the address of the "
            "mirror's root."
        )
    root = _directory(text) if text.startswith("/") else _web_address(text)
    if re.search(rf"/({'|'.join(PLATFORMS)})/[^/]+$", root):
        raise AddressError(
            f"The mirror's address {text!r} already ends in a platform and a channel. Give the address of the mirror's "
            f"root; the channel (now {channel!r}) has its own setting."
        )
    address = f"{root}/{platform}/{channel}"
    return address if address.startswith("/") else f"{address}/"


def _directory(text: str) -> str:
    if ".." in text.split("/") or re.search(r"[\x00-\x1f\x7f]", text):
        raise AddressError(
            f"The directory {text!r} has '..' or a control character in it. Give the plain absolute path of the "
            "mirror's root."
        )
    return re.sub("/{2,}", "/", text).rstrip("/")


def _web_address(text: str) -> str:
    if re.search(r"[^!-~]", text):
        raise AddressError(
            f"The mirror's address {text!r} has a space or a character outside of ASCII. Write such characters "
            "percent-encoded, for instance %20 for a space."
        )
    parts = _ADDRESS.fullmatch(text)
    if parts is None:
        advice = f"Write 'http://{text}' or 'https://{text}'" if _HOST.match(text) else "Use http:// or https://"
        raise AddressError(
            f"The mirror's address {text!r} is neither a web address nor an absolute directory. {advice}, "
            "or give the absolute path of a mounted directory."
        )
    scheme, authority, path, extra = parts[1].lower(), parts[2], parts[3], parts[4]
    if scheme == "file":
        raise AddressError(f"Agents take no file:// address. Give the directory itself: {path or '/path'!r}.")
    if scheme not in ("http", "https"):
        raise AddressError(
            f"Agents cannot fetch from {scheme}:// ({text!r}). Serve the mirror over http:// or https://, or mount it "
            "on the endpoint and give the absolute path of the mount."
        )
    _check_authority(scheme, authority, text)
    if extra:
        raise AddressError(
            f"The mirror's address {text!r} has a query or a fragment ('?' or '#'). The agent appends a path to the "
            "address: leave them out."
        )
    path = re.sub("/{2,}", "/", path).rstrip("/")
    return f"{scheme}://{authority}{path}"


def _check_authority(scheme: str, authority: str, text: str) -> None:
    host, colon, port = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(:?)(.*)", authority, re.DOTALL).groups()  # type: ignore[union-attr]
    if not host:
        raise AddressError(f"The mirror's address {text!r} names no host. Write '{scheme}://host[:port]'.")
    if not _is_host(host) or (port and not colon):
        raise AddressError(f"The mirror's address {text!r} has no valid host name. Write '{scheme}://host[:port]'.")
    if colon and not (re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 65536):
        raise AddressError(
            f"The mirror's address {text!r} has a port that does not exist. Use a number from 1 to 65535, or leave "
            "the colon out as well."
        )


def _is_host(host: str) -> bool:
    if not host.startswith("["):
        return _NAME.fullmatch(host) is not None
    try:
        ipaddress.IPv6Address(host[1:-1] if "%" not in host else "")
    except ValueError:
        return False
    return True


def _arch_advice(text: str) -> str:
    return (
        f"{text!r} contains an arch_* folder. The agent appends the folder of its own architecture, so such an address "
        "does not work. Leave arch_* out."
    )
