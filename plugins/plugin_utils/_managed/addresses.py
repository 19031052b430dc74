"""Rules about the addresses of the proxy and of the mirror.

Private to the mde.offline collection; it may change without notice.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ipaddress
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
    "The key has an empty value. The meaning of an empty string is not documented.",
    'Remove "proxy" if no proxy is used.',
)
PROXY_CREDENTIALS = rule(
    "proxy_credentials",
    ERROR,
    "A proxy with a user name or a password",
    "Proxies with authentication are not supported, and other users can read the file.",
    'Let the proxy accept these hosts without authentication and write "proxy": "http://host:port/". Change the '
    "password, because it was readable in this file.",
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
    "The address of a proxy begins with its scheme; SOCKS and other protocols are not supported.",
    'Write "proxy": "http://host:port/".',
)
PROXY_PORT = rule(
    "proxy_port",
    ERROR,
    "A proxy with an invalid port",
    "The port is a number from 1 to 65535.",
    'Write "proxy": "http://host:port/" with the number of the port.',
)
PROXY_PATH = rule(
    "proxy_path",
    ERROR,
    "A proxy with a path",
    "A static proxy is a host and a port. It has no path, query or fragment.",
    'Write "proxy": "http://host:port/" without a path.',
)
PROXY_EXAMPLE = rule(
    "proxy_example",
    ERROR,
    "The proxy of an example",
    "proxy.example.com occurs in examples only: the domain example.com is reserved for documentation, so no proxy can "
    "have this name.",
    "Write the name of your proxy, or remove the key if no proxy is used.",
)
PROXY_MALFORMED = rule(
    "proxy_malformed",
    ERROR,
    "A proxy that is not an address",
    "The host is missing, or it contains characters that are not valid in a host name.",
    'Write "proxy": "http://host:port/".',
)
OFFLINE_URL_MISSING = rule(
    "offline_url_missing",
    ERROR,
    "Offline updates without an address",
    "offlineDefinitionUpdate is enabled, but offlineDefinitionUpdateUrl is missing or empty, so the agent has no "
    "source of definitions.",
    'Write "offlineDefinitionUpdateUrl": "http://mirror:port/linux/production/".',
)
URL_NO_SCHEME = rule(
    "url_no_scheme",
    ERROR,
    "The address of the mirror is neither an address nor an absolute path",
    "A web address begins with http:// or https://, and a directory or mount with /. (One page of the documentation "
    "shows an address without a scheme; that is a mistake there.)",
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
    "The host or the port is missing or invalid, or the address has a space or another character that a URL has to "
    "encode.",
    'Write "offlineDefinitionUpdateUrl": "http://host:port/linux/production/".',
)
URL_CONTAINS_ARCH = rule(
    "url_contains_arch",
    ERROR,
    "The address of the mirror names an architecture",
    "The agent appends arch_x86_64 or arch_arm64 itself, so it finds nothing at such an address.",
    "End the address at the folder of the channel, such as .../linux/production/.",
)
URL_IS_A_FILE = rule(
    "url_is_a_file",
    ERROR,
    "The address of the mirror is the address of a file",
    "The agent appends the names of the files itself, so the address has to be that of a folder.",
    "End the address at the folder of the channel, such as .../linux/production/.",
)
URL_CREDENTIALS = rule(
    "url_credentials",
    ERROR,
    "The address of the mirror contains a user name or a password",
    "No document says that the agent can authenticate to a mirror, and other users can read the file.",
    "Let the mirror serve these hosts without a password (its packages are public), and change the password, because "
    "it was readable in this file.",
)
URL_QUERY = rule(
    "url_query",
    ERROR,
    "The address of the mirror has a query or a fragment",
    "The agent appends folders and files to the address. After ? or # they are not part of the path.",
    "End the address at the folder of the channel.",
)
URL_MAC_TREE = rule(
    "url_mac_tree",
    WARNING,
    "The address of the mirror is in the tree for macOS",
    "A mirror has one tree for Linux and one for macOS; their packages differ.",
    "Write linux instead of mac in the address.",
)
URL_ABOVE_RING_FOLDER = rule(
    "url_above_ring_folder",
    WARNING,
    "The address of the mirror ends above the folder of a channel",
    "The agent looks for arch_* folders directly below the address. A mirror has them in linux/production/ and in the "
    "folders of other channels.",
    "Add the missing folders: .../linux/production/.",
)
URL_UNUSUAL_FOLDER = rule(
    "url_unusual_folder",
    INFO,
    "The address of the mirror does not end in linux/<channel>",
    "This works if the arch_* folders are directly below the address. The usual mirror has them in linux/production/.",
    "Check that <address>/arch_x86_64/updates.zip exists.",
)
URL_BACK_FOLDER = rule(
    "url_back_folder",
    INFO,
    "The address of the mirror is the folder of the previous release",
    "A folder that ends in _back has the release before the current one. Use it only during a rollback.",
    "Return to the folder without _back when the fault is fixed.",
)
URL_TRAILING_SLASH = rule(
    "url_trailing_slash",
    INFO,
    "The end of the address differs from the documentation",
    "In the documentation, web addresses end in a slash and directories do not.",
    "Add the slash to a web address; remove it from a directory.",
)
MIRROR_WORLD_WRITABLE = rule(
    "mirror_world_writable",
    WARNING,
    "Definitions from a directory that any user can write to",
    "In /tmp, /var/tmp and /dev/shm any user of the host can place a package that the agent then loads.",
    "Use a directory that only root can write to, such as /srv/mde-mirror/linux/production.",
)
HTTP_MIRROR_UNVERIFIED = rule(
    "http_mirror_unverified",
    WARNING,
    "Plain http on an agent that does not check the engine's signature",
    "Agents before 101.26062.0005 check the signature only if the configuration enables it. Over http, anybody on the "
    "network path can change a package.",
    'Write "features": {"offlineDefinitionUpdateVerifySig": "enabled"}, or use https, or upgrade the agent.',
)
HTTP_MIRROR_SIGNATURE_UNSURE = rule(
    "http_mirror_signature_unsure",
    INFO,
    "Plain http, and the agent's version is not known",
    "Agents before 101.26062.0005 check the engine's signature only if features.offlineDefinitionUpdateVerifySig is "
    "enabled.",
    "Give the version of the agent to have this checked. On older agents enable the key.",
)

DOCUMENTATION_ADDRESS = rule(
    "documentation_address",
    INFO,
    "An address from documentation",
    "Documents use hosts such as example.com or contoso.com, and the mirror's address of Microsoft's samples, in place "
    "of your own host.",
    "Write the name of your own host, or accept this finding if the name is right.",
)
URL_IS_MICROSOFTS = rule(
    "url_is_microsofts",
    WARNING,
    "The address of the mirror is Microsoft's own",
    "Offline updates come from your own mirror, with the folders linux/<channel>/arch_*. Microsoft's download servers "
    "have no such folders.",
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
_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?", re.DOTALL)
_PAC = re.compile(r"wpad|\.pac\b|\Apac\+", re.IGNORECASE)
_EXAMPLE_PROXIES = ("proxy.server", "proxy.example.com")
_URL = ("antivirusEngine", "offlineDefinitionUpdateUrl")
_PROXY = ("cloudService", "proxy")


@dataclass(frozen=True)
class Address:
    """The parts of scheme://host:port/path. Splitting a text never fails."""

    scheme: str
    credentials: bool
    host: str
    port: str | None
    path: str
    extra: str

    @classmethod
    def split(cls, text: str) -> Address:
        if text.startswith("/"):  # in a directory, @, ? and # are ordinary characters
            return cls("", re.search(r"//[^/]*@", text) is not None, "", None, text, "")
        scheme, mark, rest = text.partition("://")
        if not mark or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
            scheme, rest = "", text
        _user, credentials, rest = rest.rpartition(
            "@"
        )  # a password can contain a slash, and no folder of a mirror has an @
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
        if self.host.startswith("["):
            return not _is_ipv6(self.host)
        return _NAME.fullmatch(self.host) is None


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(re.fullmatch(r"\[([0-9A-Fa-f:.]+)\]", host)[1])  # type: ignore[index]
    except (TypeError, ValueError):
        return False
    return True


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
    """No message shows the value: any part of it may be a secret."""
    if not proxy.strip():
        yield PROXY_EMPTY.at(_PROXY, "The proxy is an empty string.")
        return
    if proxy != proxy.strip():
        yield PROXY_MALFORMED.at(_PROXY, "The proxy begins or ends with a space.", "Remove the spaces.")
    address = Address.split(proxy.strip())
    if "@" in proxy:
        yield PROXY_CREDENTIALS.at(
            _PROXY, "The proxy is written with a user name or a password, which is not supported."
        )
        return
    if _PAC.search(proxy):
        yield PROXY_PAC.at(_PROXY, "This is an automatic proxy configuration (PAC or WPAD), which is not supported.")
        return
    if address.scheme not in ("http", "https"):
        bare = not address.scheme and not address.host_is_bad and not address.port_is_bad and address.port is not None
        advice = write("proxy", f"http://{address.host}:{address.port}/") if bare else ""
        what = f"The scheme {address.scheme[:20]} is not supported." if address.scheme else "The proxy has no scheme."
        yield PROXY_SCHEME.at(_PROXY, what, advice)
        return
    if address.host_is_bad:
        yield PROXY_MALFORMED.at(_PROXY, "The host of the proxy is missing or invalid.")
    if address.port_is_bad:
        yield PROXY_PORT.at(_PROXY, "The port of the proxy is not a number from 1 to 65535.")
    if address.path not in ("", "/") or address.extra:
        yield PROXY_PATH.at(_PROXY, "The proxy has more than a host and a port.")
    if address.host.lower() in _EXAMPLE_PROXIES:
        yield PROXY_EXAMPLE.at(_PROXY, f"The name {show(address.host)} is from an example.")
    if _OF_DOCUMENTS.search(address.host):
        yield DOCUMENTATION_ADDRESS.at(_PROXY, f"{show(address.host)} is a host from documentation.")


def _mirror(url: str) -> Iterator[Finding]:
    shown, around = show(url), url != url.strip()
    url = url.strip()
    address = Address.split(url)
    if around:
        yield URL_MALFORMED.at(_URL, f"{shown} begins or ends with a space.", "Remove the spaces.")
    if _MICROSOFT.search(address.host):
        yield URL_IS_MICROSOFTS.at(_URL, f"{show(address.host)} is a server of Microsoft.")
    elif _OF_DOCUMENTS.search(address.host):
        yield DOCUMENTATION_ADDRESS.at(_URL, f"{show(address.host)} is a host from documentation.")
    if address.credentials:
        yield URL_CREDENTIALS.at(_URL, f"{shown} contains a user name or a password.")
    if address.scheme in ("http", "https"):
        if address.host_is_bad or address.port_is_bad:
            yield URL_MALFORMED.at(_URL, f"{shown} has no usable host or port.")
        elif re.search(r"[^!-~]", url):
            advice = "Write spaces and characters outside of ASCII percent-encoded, for instance %20 for a space."
            yield URL_MALFORMED.at(_URL, f"{shown} has a space or a character outside of ASCII.", advice)
        if address.extra:
            yield URL_QUERY.at(_URL, f"{shown} has a query or a fragment.")
    elif address.scheme:
        advice = write(_URL[1], address.path) if address.scheme == "file" and not address.host and address.path else ""
        yield URL_SCHEME_UNSUPPORTED.at(_URL, f"{show(address.scheme)} is not http or https.", advice)
    elif re.match(r"https?:", url, re.IGNORECASE):
        yield URL_MALFORMED.at(_URL, f"{shown} has no // before its host.")
    elif url.startswith("/"):
        if re.search(r"[\x00-\x1f\x7f]", url) or ".." in url.split("/"):
            advice = "Write the plain absolute path of the directory, without '..' and control characters."
            yield URL_MALFORMED.at(_URL, f"{shown} is not a plain absolute path.", advice)
    else:
        yield URL_NO_SCHEME.at(_URL, f"{shown} has no scheme and is not an absolute path.", _with_scheme(address))
    yield from _folder(address, url)


def _with_scheme(address: Address) -> str:
    if address.port == "":
        return "Mount the share and write the directory of the mount, or use http://."
    if address.credentials or address.host_is_bad or address.port_is_bad:
        return ""
    if not address.path or not (address.port or re.fullmatch(r"[\w-]+(\.[\w-]+)+|\[.*\]", address.host)):
        return "Write the absolute path of the directory, beginning with /, or http:// and the host."
    return _corrected(replace(address, scheme="http"), _ring(address))


def _ring(address: Address) -> list[str]:
    """The folders of the path up to the folder of the channel."""
    parts = [part for part in address.path.split("/") if part]
    if any(map(_ARCH.match, parts)):
        return parts[: next(index for index, part in enumerate(parts) if _ARCH.match(part))]
    return parts[:-1] if parts and _FILE.search(parts[-1]) else parts


def _folder(address: Address, url: str) -> Iterator[Finding]:
    """The place in the tree of a mirror where the address ends."""
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
        yield URL_ABOVE_RING_FOLDER.at(_URL, f"{show(url)} ends above the folder of a channel.")
    elif ring[-2:-1] != ["linux"]:
        yield URL_UNUSUAL_FOLDER.at(_URL, f"{show(url)} does not end in linux/ and the name of a channel.")
    if lower and lower[-1].endswith("_back"):
        yield URL_BACK_FOLDER.at(
            _URL,
            f"{show(ring[-1])} is the folder of the previous release.",
            _corrected(address, [*ring[:-1], ring[-1][:-5]]),
        )
    if ring == parts and parts and not address.extra:
        yield from _ending(address, parts)
    writable = (
        None if address.scheme not in ("", "file") or address.host else paths.inside(address.path, paths.WORLD_WRITABLE)
    )
    if writable:
        yield MIRROR_WORLD_WRITABLE.at(_URL, f"Any user can write to {writable}, and so to {show(url)}.")


def _ending(address: Address, parts: list[str]) -> Iterator[Finding]:
    if address.scheme in ("http", "https") and not address.path.endswith("/"):
        yield URL_TRAILING_SLASH.at(_URL, "The address does not end in a slash.", _corrected(address, parts))
    elif not address.scheme and not address.host and address.path.endswith("/"):
        yield URL_TRAILING_SLASH.at(_URL, "The directory ends in a slash.", _corrected(address, parts))


def _corrected(address: Address, parts: list[str]) -> str:
    """The corrected line with this path; empty if more than the path is wrong."""
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
