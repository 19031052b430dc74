"""Parses and compares addresses of mirrors. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import os
import re

from ansible_collections.mde.offline.plugins.module_utils._endpoint.host_names import is_host
from ansible_collections.mde.offline.plugins.module_utils._endpoint.masking import masked
from ansible_collections.mde.offline.plugins.module_utils._endpoint.text import decode

PORTS = {"http": 80, "https": 443}
FOLDER = "folder"
_ARCHITECTURES = {"amd64": "x86_64", "aarch64": "arm64"}
_ADDRESS = re.compile(r"^([a-z][a-z0-9+.-]*)://([^/?#]*)([^?#]*)([?#].*)?$", re.IGNORECASE)
_HOST = re.compile(r"^(\[[^\]]*\]|[^\[\]:]+)(?::([0-9]{1,5}))?\Z")
_ODD_FOLDER = re.compile(r"[\x00-\x1f\x7f]|/\.\.(/|\Z)|//[^/]*@")
_BELOW_CHANNEL = re.compile(r"/(arch_[^/]*|[^/]*\.zip|manifest\.json)(/|$)", re.IGNORECASE)
_FILE_SCHEME = re.compile(r"^file://", re.IGNORECASE)
# The part of a path below the folder of a channel.
_TAIL = re.compile(r"(/arch_[^/]*)?(/[^/]*\.(zip|json))?/*$", re.IGNORECASE)


def architecture(machine=None):
    """The name of a processor architecture in the paths of a mirror; by default that of this machine."""
    machine = machine or os.uname()[4]
    return _ARCHITECTURES.get(machine, machine)


class Address:
    """The address of a mirror as the agent reads it.

    `kind` is the scheme, or FOLDER for an absolute path. `problem` says why the agent cannot use the address (None: it
    can). `path` is the path without a slash at its end, `channel` the path of the folder that contains the arch_*
    folders.
    """

    def __init__(self, location):
        self.location = decode(location).strip()
        self.shown = masked(self.location, address=True)
        self.kind, self.host, self.port, self.path, self.problem = None, None, None, "", None
        if self.location.startswith("/"):
            self.kind, self.path = FOLDER, self.location.rstrip("/") or "/"
            if _ODD_FOLDER.search(self.location):
                self.problem = "it is not a plain absolute path"
            return
        match = _ADDRESS.match(self.location)
        if match is None:
            self.problem = "it is neither an http(s) address nor an absolute path"
            return
        scheme, authority, path, rest = match.groups()
        self.kind, self.path = scheme.lower(), path.rstrip("/")
        if self.kind not in PORTS:
            self.problem = "its scheme is {0}, and only http and https are documented".format(self.kind)
            return
        host = _HOST.match(authority.rpartition("@")[2])
        port = int(host.group(2) or PORTS[self.kind]) if host else 0
        if not host or not is_host(host.group(1)) or not 0 < port < 65536:
            self.problem = "it has no usable host and port"
            return
        if re.search("[^!-~]", self.location):
            self.problem = "it has a space or a character that is not ASCII, which has to be percent-encoded"
            return
        self.host, self.port = host.group(1).strip("[]"), port
        if "@" in self.location:
            self.problem = "it has a user or a password, but the agent sends none"
        elif rest:
            self.problem = "it has a query or a fragment, but the agent appends a path to the address"

    @property
    def channel(self):
        """The path up to the folder of a channel, without the part below it."""
        return _TAIL.sub("", self.path) or ("/" if self.kind == FOLDER else "")

    @property
    def host_header(self):
        """The host as a request names it."""
        host = "[{0}]".format(self.host) if ":" in self.host else self.host
        return host if self.port == PORTS[self.kind] else "{0}:{1}".format(host, self.port)

    def shown_at(self, path):
        """A file of the mirror, for messages."""
        if self.kind == FOLDER or self.host is None:
            return path if self.kind == FOLDER else self.shown
        return "{0}://{1}{2}".format(self.kind, self.host_header, path)


def lenient(location):
    """The address as a person may write it: file:// may be before a path, and http:// may be missing before a host."""
    location = _FILE_SCHEME.sub("", decode(location).strip())
    if location and not location.startswith("/") and "://" not in location:
        location = "http://" + location
    return Address(location)


def below(folder, arch, name):
    """The path of a file for an architecture."""
    return "{0}/arch_{1}/{2}".format(folder.rstrip("/"), arch, name)


def same(left, right):
    """Whether two addresses are those of the same channel."""
    return _comparable(left) == _comparable(right)


def comes_from(source, location):
    """Whether a source is the channel at an address, or a file inside it."""
    source, location = _comparable(source), _comparable(location)
    return source[:2] == location[:2] and source[2][: len(location[2])] == location[2]


def _comparable(location):
    """Scheme, host with port, and the parts of the path; user, default port and case of the host do not count."""
    address = lenient(location)
    scheme, host = address.kind, address.host
    if host is not None:
        host = "{0}:{1}".format(host.lower().rstrip("."), address.port)
    elif scheme != FOLDER:
        match = _ADDRESS.match(address.location)
        host = match.group(2).lower() if match else address.location
    parts = []
    for part in address.channel.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return scheme, host, tuple(parts)


def channel_name(location):
    """The name of the channel in the layout of a mirror, PLATFORM/CHANNEL; None for an address of another layout."""
    parts = _comparable(location)[2]
    return parts[-1] if parts[-2:-1] in (("linux",), ("mac",)) else None


def points_below_channel(location):
    """Whether an address goes on below the folder of a channel, which the agent does not expect."""
    path = location if location.startswith("/") else re.sub(r"^[^/?#]*//[^/?#]*|[?#].*", "", location)
    return _BELOW_CHANNEL.search(path) is not None


def is_microsoft(location):
    """Whether an address is one of Microsoft's cloud."""
    host = (lenient(location).host or "").lower()
    return host == "microsoft.com" or host.endswith(".microsoft.com")
