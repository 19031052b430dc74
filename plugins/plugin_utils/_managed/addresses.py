"""Addresses: the proxy, and the mirror that definitions come from.

Private to the mde.offline collection: no promise is made to others.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from . import paths
from .document import Findings, ManagedConfig
from .findings import ERROR, INFO, WARNING, Finding, rule, show, write
from .placeholders import is_placeholder

PROXY_EMPTY = rule(
    "proxy_empty",
    WARNING,
    "An empty proxy",
    "The key is there, but says nothing. What an empty string means to the agent is not documented.",
    'Remove "proxy" where no proxy is used.',
)
PROXY_CREDENTIALS = rule(
    "proxy_credentials",
    ERROR,
    "A proxy with a user name or a password",
    "Proxies that ask for a user and a password are not supported, and the file can be read by others.",
    'Let the proxy accept these hosts without authentication and write "proxy": "http://host:port/". Change the '
    "password that stood here.",
)
PROXY_PAC = rule(
    "proxy_pac",
    ERROR,
    "A proxy auto-configuration",
    "PAC files and WPAD are not supported; the proxy is static.",
    'Write the proxy itself: "proxy": "http://host:port/".',
)
PROXY_SCHEME = rule(
    "proxy_scheme",
    ERROR,
    "A proxy without http:// or https://",
    "The proxy is written as an address with its scheme; SOCKS and others are not supported.",
    'Write "proxy": "http://host:port/".',
)
PROXY_PORT = rule(
    "proxy_port",
    ERROR,
    "A proxy with a port that is no number",
    "The port is a number from 1 to 65535.",
    'Write "proxy": "http://host:port/" with the number of the port.',
)
PROXY_PATH = rule(
    "proxy_path",
    ERROR,
    "A proxy with a path",
    "A static proxy is a host and a port; a path, a query or a fragment has no meaning there.",
    'Write "proxy": "http://host:port/" and nothing behind it.',
)
PROXY_MALFORMED = rule(
    "proxy_malformed",
    ERROR,
    "A proxy that is not an address",
    "There is no host in it, or it holds blanks or other characters that no host has.",
    'Write "proxy": "http://host:port/".',
)
OFFLINE_URL_MISSING = rule(
    "offline_url_missing",
    ERROR,
    "Offline updates without an address",
    "offlineDefinitionUpdate is enabled, but offlineDefinitionUpdateUrl is missing or empty: there is nowhere to "
    "update from.",
    'Write "offlineDefinitionUpdateUrl": "http://mirror:port/linux/production/".',
)
URL_NO_SCHEME = rule(
    "url_no_scheme",
    ERROR,
    "The address of the mirror is neither an address nor an absolute path",
    "It needs http:// or https:// before the host, or has to begin with / where it is a directory or a mount. (One "
    "document shows it without; "
    "that is a fault of the document.)",
    "Write the scheme, or the absolute path of the directory.",
)
URL_SCHEME_UNSUPPORTED = rule(
    "url_scheme_unsupported",
    ERROR,
    "The address of the mirror has a scheme that is not supported",
    "Only http, https and absolute paths are documented.",
    "Serve the mirror over HTTP or HTTPS, or mount it and write the directory without a scheme.",
)
URL_MALFORMED = rule(
    "url_malformed",
    ERROR,
    "The address of the mirror is not an address",
    "There is no host in it, the port is no number, or it holds blanks.",
    'Write "offlineDefinitionUpdateUrl": "http://host:port/linux/production/".',
)
URL_CONTAINS_ARCH = rule(
    "url_contains_arch",
    ERROR,
    "The address of the mirror names an architecture",
    "The agent adds arch_x86_64 or arm64's folder itself. With it in the address nothing is found, or the hosts of "
    "one architecture only update.",
    "End the address at the folder of the ring, such as .../linux/production/.",
)
URL_IS_A_FILE = rule(
    "url_is_a_file",
    ERROR,
    "The address of the mirror is that of a file",
    "The agent adds the names of the files itself; the address is that of a folder.",
    "End the address at the folder of the ring, such as .../linux/production/.",
)
URL_CREDENTIALS = rule(
    "url_credentials",
    WARNING,
    "The address of the mirror holds a user name or a password",
    "Nothing documents that the agent can log in to a mirror, and the file can be read by others.",
    "Let the mirror serve these hosts without a password (its packages are public), and change the password that "
    "stood here.",
)
URL_QUERY = rule(
    "url_query",
    WARNING,
    "The address of the mirror has a query or a fragment",
    "The agent appends folders and files to the address; behind ? or # they get lost.",
    "End the address at the folder of the ring.",
)
URL_MAC_TREE = rule(
    "url_mac_tree",
    WARNING,
    "The address of the mirror leads to the packages for macOS",
    "A mirror has one tree for Linux and one for macOS; their packages differ.",
    "Write linux instead of mac in the address.",
)
URL_ABOVE_RING_FOLDER = rule(
    "url_above_ring_folder",
    WARNING,
    "The address of the mirror ends above the folder of a ring",
    "The agent looks for arch_* folders right below the address. On a mirror they are in linux/production/ and its "
    "neighbours.",
    "Add the missing folders: .../linux/production/.",
)
URL_UNUSUAL_FOLDER = rule(
    "url_unusual_folder",
    INFO,
    "The address of the mirror does not end in linux/<ring>",
    "That is fine if the arch_* folders are right below it; on the usual mirror they are in linux/production/.",
    "Check that <address>/arch_x86_64/updates.zip exists.",
)
URL_BACK_FOLDER = rule(
    "url_back_folder",
    INFO,
    "The address of the mirror is that of the previous release",
    "A folder that ends in _back holds the release before the current one. It is for the time of a rollback only.",
    "Go back to the folder without _back once the fault is mended.",
)
URL_TRAILING_SLASH = rule(
    "url_trailing_slash",
    INFO,
    "A slash at the end of the address that documents show otherwise",
    "Documents end addresses in a slash and directories without one.",
    "Add it to an address, take it from a directory.",
)
MIRROR_WORLD_WRITABLE = rule(
    "mirror_world_writable",
    WARNING,
    "Definitions from a directory where anybody may write",
    "Below /tmp, /var/tmp and /dev/shm any user of the host can put a package of his own for the agent to load.",
    "Use a directory that only root may write to, such as /srv/mde-mirror/linux/production.",
)
HTTP_MIRROR_UNVERIFIED = rule(
    "http_mirror_unverified",
    WARNING,
    "Plain http on an agent that does not check the engine's signature",
    "Agents before 101.26062.0005 check it only if they are told to. Over http anybody on the way can change a "
    "package.",
    'Write "features": {"offlineDefinitionUpdateVerifySig": "enabled"}, or use https, or upgrade the agent.',
)
HTTP_MIRROR_SIGNATURE_UNSURE = rule(
    "http_mirror_signature_unsure",
    INFO,
    "Plain http, and the agent's version is not known",
    "Agents before 101.26062.0005 check the engine's signature only if features.offlineDefinitionUpdateVerifySig is "
    "enabled.",
    "Give the version of the agent to have this judged; on older ones enable the key.",
)

DOCUMENTATION_ADDRESS = rule(
    "documentation_address",
    INFO,
    "An address that documents use",
    "Hosts such as example.com or contoso.com, and the address of the mirror in Microsoft's samples, stand in "
    "documents for one of your own. Somewhere they may be real.",
    "Put in your own host, or accept this finding if it is one.",
)
URL_IS_MICROSOFTS = rule(
    "url_is_microsofts",
    WARNING,
    "The address of the mirror is Microsoft's own",
    "Offline updates come from a mirror of yours, with the folders linux/<ring>/arch_*. Microsoft's addresses for "
    "downloads have no such folders.",
    'Write the address of your mirror, or remove it and let "offlineDefinitionUpdate": "disabled" use the cloud.',
)

_MICROSOFT = re.compile(r"(?:\A|\.)(?:microsoft|windowsupdate|azureedge)\.(?:com|net)\Z", re.IGNORECASE)
_OF_DOCUMENTS = re.compile(
    r"(?:\A|\.)(?:example|contoso|fabrikam|mycompany|yourcompany|mydomain|yourdomain)\.\w+\Z|\.example\Z|\.invalid\Z"
    r"|\A172\.22\.199\.67\Z",
    re.IGNORECASE,
)
_ARCH = re.compile(r"^arch_", re.IGNORECASE)
_FILE = re.compile(r"\.zip$|^manifest\.json$", re.IGNORECASE)
_HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]|[^\s:/?#@\[\]\\\"'<>]+")
_URL = ("antivirusEngine", "offlineDefinitionUpdateUrl")
_PROXY = ("cloudService", "proxy")


@dataclass(frozen=True)
class Address:
    """scheme://host:port/path, taken apart without ever failing."""

    scheme: str
    credentials: bool
    host: str
    port: str | None
    path: str
    extra: str

    @classmethod
    def split(cls, text: str) -> Address:
        scheme, mark, rest = text.partition("://")
        if not mark or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
            scheme, rest = "", text
        _user, credentials, rest = rest.rpartition("@")  # a password may hold a slash; no folder of a mirror has an @
        place, path, extra = re.fullmatch(r"([^/?#]*)([^?#]*)(.*)", rest, flags=re.DOTALL).groups()  # type: ignore[union-attr]
        host, _colon, port = place.rpartition(":") if re.search(r":[^\]]*$", place) else (place, "", None)
        return cls(scheme.lower(), bool(credentials), host, port, path, extra)

    @property
    def port_is_bad(self) -> bool:
        return self.port is not None and not (
            re.fullmatch("[0-9]{1,5}", self.port, re.ASCII) and 0 < int(self.port) < 65536
        )

    @property
    def host_is_bad(self) -> bool:
        return _HOST.fullmatch(self.host) is None


def check(managed: ManagedConfig) -> Findings:
    proxy = managed.text(*_PROXY)
    if proxy is not None and not is_placeholder(proxy, _PROXY):
        yield from _proxy(proxy)
    url = managed.text(*_URL)
    if managed.offline() and (not managed.has(*_URL) or (url is not None and not url.strip())):
        yield OFFLINE_URL_MISSING.at(_URL, "Offline updates are enabled, but there is no address to update from.")
    if url and url.strip() and not is_placeholder(url, _URL):
        yield from _mirror(url)
        if url.lower().lstrip().startswith("http://"):
            yield from _signature(managed)


def _proxy(proxy: str) -> Iterator[Finding]:
    """The value itself is never shown: it may be a secret even where it does not look like one."""
    if not proxy.strip():
        yield PROXY_EMPTY.at(_PROXY, "The proxy is an empty string.")
        return
    if proxy != proxy.strip():
        yield PROXY_MALFORMED.at(_PROXY, "There are blanks around the proxy.", "Take the blanks away.")
    address = Address.split(proxy.strip())
    if "@" in proxy:
        yield PROXY_CREDENTIALS.at(
            _PROXY, "The proxy is written with a user name or a password, which is not supported."
        )
        return
    if re.search(r"\.pac\b|(^|[/.])wpad\b|^pac\+|\bproxy\.pac\b", proxy, re.IGNORECASE):
        yield PROXY_PAC.at(_PROXY, "This is an automatic proxy configuration (PAC or WPAD), which is not supported.")
        return
    if address.scheme not in ("http", "https"):
        bare = not address.scheme and not address.host_is_bad and not address.port_is_bad and address.port is not None
        advice = write("proxy", f"http://{address.host}:{address.port}/") if bare else ""
        what = f"The scheme {address.scheme[:20]} is not supported." if address.scheme else "The proxy has no scheme."
        yield PROXY_SCHEME.at(_PROXY, what, advice)
        return
    if address.host_is_bad:
        yield PROXY_MALFORMED.at(_PROXY, "There is no host in the proxy, or it is not one.")
    if address.port_is_bad:
        yield PROXY_PORT.at(_PROXY, "The port of the proxy is not a number from 1 to 65535.")
    if address.path not in ("", "/") or address.extra:
        yield PROXY_PATH.at(_PROXY, "There is more in the proxy than a host and a port.")
    if _OF_DOCUMENTS.search(address.host):
        yield DOCUMENTATION_ADDRESS.at(_PROXY, f"{show(address.host)} is a host of documents.")


def _mirror(url: str) -> Iterator[Finding]:
    shown, around = show(url), url != url.strip()
    url = url.strip()
    address = Address.split(url)
    if around:
        yield URL_MALFORMED.at(_URL, f"There are blanks around {shown}.", "Take the blanks away.")
    if _MICROSOFT.search(address.host):
        yield URL_IS_MICROSOFTS.at(_URL, f"{show(address.host)} is no mirror of yours.")
    elif _OF_DOCUMENTS.search(address.host):
        yield DOCUMENTATION_ADDRESS.at(_URL, f"{show(address.host)} is a host of documents.")
    if address.credentials:
        yield URL_CREDENTIALS.at(_URL, f"{shown} holds a user name or a password.")
    if address.scheme in ("http", "https"):
        if address.host_is_bad or address.port_is_bad or re.search(r"\s", url):
            yield URL_MALFORMED.at(_URL, f"{shown} has no usable host or port, or holds blanks.")
        if address.extra:
            yield URL_QUERY.at(_URL, f"{shown} goes on behind its path.")
    elif address.scheme:
        advice = write(_URL[1], address.path) if address.scheme == "file" and not address.host and address.path else ""
        yield URL_SCHEME_UNSUPPORTED.at(_URL, f"{show(address.scheme)} is not http or https.", advice)
    elif re.match(r"https?:", url, re.IGNORECASE):
        yield URL_MALFORMED.at(_URL, f"{shown} lacks the two slashes before its host.")
    elif not url.startswith("/"):
        yield URL_NO_SCHEME.at(_URL, f"{shown} has no scheme and is not an absolute path.", _with_scheme(address))
    yield from _folder(address, url)


def _with_scheme(address: Address) -> str:
    if address.port == "":
        return "Mount the share, and write the directory where it is mounted; or use http://."
    if address.credentials or address.host_is_bad or address.port_is_bad:
        return ""
    if not address.path or not (address.port or re.fullmatch(r"[\w-]+(\.[\w-]+)+|\[.*\]", address.host)):
        return "Write the absolute path of the directory, beginning with /, or http:// and the host."
    return _corrected(replace(address, scheme="http"), _ring(address))


def _ring(address: Address) -> list[str]:
    """The folders of the path up to that of the ring."""
    parts = [part for part in address.path.split("/") if part]
    if any(map(_ARCH.match, parts)):
        return parts[: next(index for index, part in enumerate(parts) if _ARCH.match(part))]
    return parts[:-1] if parts and _FILE.search(parts[-1]) else parts


def _folder(address: Address, url: str) -> Iterator[Finding]:
    """Where in the tree of a mirror the address ends."""
    parts, ring = [part for part in address.path.split("/") if part], _ring(address)
    arch = next(filter(_ARCH.match, parts), None)
    is_file = any(map(_FILE.search, parts))
    advice = _corrected(address, ring)
    if arch:
        yield URL_CONTAINS_ARCH.at(_URL, f"{show(url)} names the architecture ({show(arch)}).", advice)
    if is_file:
        yield URL_IS_A_FILE.at(_URL, f"{show(url)} is the address of a file.", advice)
    lower = [part.lower() for part in ring]
    if "mac" in lower[-2:]:
        at = len(ring) - 1 - lower[::-1].index("mac")
        yield URL_MAC_TREE.at(
            _URL, f"{show(url)} is in the tree for macOS.", _corrected(address, [*ring[:at], "linux", *ring[at + 1 :]])
        )
    elif not ring or lower[-1] == "linux":
        yield URL_ABOVE_RING_FOLDER.at(_URL, f"{show(url)} ends above the folder of a ring.")
    elif ring[-2:-1] != ["linux"]:
        yield URL_UNUSUAL_FOLDER.at(_URL, f"{show(url)} does not end in linux/ and the name of a ring.")
    if lower and lower[-1].endswith("_back"):
        yield URL_BACK_FOLDER.at(
            _URL, f"{show(ring[-1])} holds the previous release.", _corrected(address, [*ring[:-1], ring[-1][:-5]])
        )
    if ring == parts and parts and not address.extra:
        yield from _ending(address, parts)
    writable = (
        None if address.scheme not in ("", "file") or address.host else paths.inside(address.path, paths.WORLD_WRITABLE)
    )
    if writable:
        yield MIRROR_WORLD_WRITABLE.at(_URL, f"Anybody may write to {writable}, and so to {show(url)}.")


def _ending(address: Address, parts: list[str]) -> Iterator[Finding]:
    if address.scheme in ("http", "https") and not address.path.endswith("/"):
        yield URL_TRAILING_SLASH.at(_URL, "The address does not end in a slash.", _corrected(address, parts))
    elif not address.scheme and not address.host and address.path.endswith("/"):
        yield URL_TRAILING_SLASH.at(_URL, "The directory ends in a slash.", _corrected(address, parts))


def _corrected(address: Address, parts: list[str]) -> str:
    """The line with this path; empty where more than the path is wrong."""
    if address.scheme in ("http", "https") and not address.host_is_bad and not address.port_is_bad:
        port = f":{address.port}" if address.port else ""
        return write(_URL[1], "/".join([f"{address.scheme}://{address.host}{port}", *parts, ""]))
    if not address.scheme and not address.host:
        return write(_URL[1], "/" + "/".join(parts))
    return ""


def _signature(managed: ManagedConfig) -> Iterator[Finding]:
    if managed.value("features", "offlineDefinitionUpdateVerifySig") == "enabled":
        return
    if managed.agent is None:
        yield HTTP_MIRROR_SIGNATURE_UNSURE.at(
            _URL, "The mirror is reached over plain http, and the version of the agent is not known."
        )
    elif managed.older_than("101.26062.0005"):
        yield HTTP_MIRROR_UNVERIFIED.at(
            _URL, "The mirror is reached over plain http, and this agent does not check the engine's signature."
        )
