"""The settings of a mirror, read from JSON. Every fault is named, and nothing is guessed.

Microsoft's six keys mean what they mean in its script, so a `settings.json` made for the script works unchanged.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path
from typing import Any, Callable, Mapping, NamedTuple, Optional
from urllib.parse import unquote, urlsplit

from .errors import SettingsError
from .masking import masked, user_part
from .units import ARCHITECTURES, PLATFORMS, RINGS, Unit

DEFAULT_PATH = Path("/etc/mde-mirror/settings.json")
DEFAULT_ROOT = "/srv/mde-mirror"
SERVICE_URL = "https://go.microsoft.com/fwlink/"
ENCODE = "need percent-encoding: every character but letters, digits and - . _ ~ is written as %XX, such as %2F for /"
_REPOSITORY = "https://github.com/microsoft/mdatp-xplat.git"
_HOST_AND_PORT = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?))"
    r"(?::(?P<port>[0-9]{1,5}))?\Z"
)
SERVICE_HOSTS = ("go.microsoft.com", "definitionupdates.microsoft.com")

MIB = 1024 * 1024
# Hours. Microsoft publishes several times a day, so that definitions of this age say that something stands still.
MAX_DEFINITIONS_AGE = 72


class ScriptSettings(NamedTuple):
    """Where Microsoft's script is: in a folder at `path`, or at `url`, a git repository or a zip, at `commit`."""

    path: str | None = None
    url: str | None = None
    commit: str | None = None


class SourceSettings(NamedTuple):
    """Where packages come from, and how they are fetched. Times in seconds, speed in bytes a second."""

    type: str
    url: str
    ca_file: str | None
    client_cert: str | None
    client_key: str | None
    proxy: str | None
    allowed_hosts: tuple[str, ...]
    retries: int
    timeout: float
    connect_timeout: float
    min_speed: int
    trusted_keys: str | None
    unsigned: bool
    script: ScriptSettings

    @property
    def is_encrypted(self) -> bool:
        """True if the source is asked over TLS, which is always verified."""
        return urlsplit(self.url).scheme.lower() == "https"

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses that may contain a password."""
        return tuple(filter(None, (self.url, self.proxy, self.script.url)))


class AgeLimits(NamedTuple):
    """How old definitions may be, in hours: of the channels that are named, and of all others. 0 means no limit."""

    others: float
    by_channel: Mapping[str, float]

    def of(self, channel: str) -> float:
        return self.by_channel.get(channel, self.others)


class PackagePolicy(NamedTuple):
    """The requirements of a package: its size in bytes, and patterns. Each pattern must match the name of a member."""

    min_bytes: int
    max_bytes: int
    expected_members: tuple[str, ...]


class Settings(NamedTuple):
    root: Path
    platforms: tuple[str, ...]
    rings: tuple[str, ...]
    architectures: tuple[str, ...]
    channels: tuple[str, ...]
    keep_previous: bool
    log_file: str | None
    retain: int
    parallel: int
    rate_limit: int
    max_definitions_age: AgeLimits
    policy: PackagePolicy
    source: SourceSettings
    signing_key: str | None

    @property
    def is_replica(self) -> bool:
        """True if the source is another mirror."""
        return self.source.type == "mirror"

    def followed_units(self) -> list[Unit]:
        """The units that follow the source. A replica follows the extra channels of the other mirror too."""
        return self._units(self.rings + (self.channels if self.is_replica else ()))

    def promoted_units(self) -> list[Unit]:
        """The units that are fed by promotion."""
        return self._units(() if self.is_replica else self.channels)

    def _units(self, channels: tuple[str, ...]) -> list[Unit]:
        return [
            Unit(platform, channel, arch)
            for platform in self.platforms
            for channel in channels
            for arch in self.architectures
        ]


def load(path: Path) -> Settings:
    """The settings in a file. UTF-8 and UTF-16 with or without byte order mark are read: PowerShell writes them all."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"cannot read the settings {path}: {error.strerror}",
            f"Name the file with --settings FILE, or create {path}; a file with only a downloadFolder is enough.",
        ) from None
    try:
        # detect_encoding() recognises UTF-16 by its zero bytes or its byte order mark, which stays in the text.
        text = data.decode(json.detect_encoding(data)).lstrip("\ufeff")
        fields = json.loads(text, object_pairs_hook=_no_duplicates)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise SettingsError(
            f"the settings {path} are not valid JSON: {error}",
            f"Fix the file; `python3 -m json.tool {path}` shows the same position.",
        ) from None
    return parse(fields, str(path))


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name!r} occurs twice")
        found[name] = value
    return found


def parse(fields: Any, where: str = "the settings") -> Settings:
    """Settings from a mapping. Raises `SettingsError` naming every unknown key and wrong type at once."""
    faults: list[str] = []
    top = _Fields(fields, "", _TOP, faults)
    verify = _Fields(top.get("verify"), "verify.", _VERIFY, faults)
    source = _Fields(top.get("source"), "source.", _SOURCE, faults)
    script = _Fields(source.get("script"), "source.script.", _SCRIPT, faults)
    signing = _Fields(top.get("signing"), "signing.", _SIGNING, faults)
    if not faults:
        _check_together(top, verify, source, script, faults)
        _check_trust(source, signing, faults)
    if faults:
        raise SettingsError(
            "{} cannot be used: {}".format(where, "; ".join(faults)),
            "Fix these keys; docs/mirror.md lists every key with its type and default.",
        )
    url = source.get("url") or SERVICE_URL
    host = urlsplit(url).hostname or ""
    hosts = source.get("allowedHosts") or (SERVICE_HOSTS if host in SERVICE_HOSTS else (host,))
    switches = zip(PLATFORMS, ("downloadLinuxUpdates", "downloadMacUpdates"))
    return Settings(
        root=Path(top.get("downloadFolder")),
        platforms=tuple(platform for platform, key in switches if top.get(key)),
        rings=RINGS if top.get("downloadPreviewUpdates") else RINGS[:1],
        architectures=tuple(top.get("architectures")),
        channels=tuple(top.get("channels")),
        keep_previous=top.get("backupPreviousUpdates"),
        log_file=top.get("logFilePath") or None,
        retain=top.get("retain"),
        parallel=top.get("parallel"),
        rate_limit=top.get("rateLimit"),
        max_definitions_age=_age_limits(top.get("maxDefinitionsAge")),
        policy=PackagePolicy(verify.get("minBytes"), verify.get("maxBytes"), tuple(verify.get("expectedMembers"))),
        source=SourceSettings(
            type=source.get("type"),
            url=url,
            ca_file=source.get("caFile") or None,
            client_cert=source.get("clientCert") or None,
            client_key=source.get("clientKey") or None,
            proxy=source.get("proxy") or None,
            allowed_hosts=tuple(name.lower() for name in hosts),
            retries=source.get("retries"),
            timeout=float(source.get("timeout")),
            connect_timeout=float(source.get("connectTimeout")),
            min_speed=source.get("minSpeed"),
            trusted_keys=source.get("trustedKeys") or None,
            unsigned=source.get("unsigned"),
            script=ScriptSettings(
                path=script.get("path") or None,
                url=_with_lower_scheme(script.get("url")) or None,
                commit=(script.get("commit") or "").lower() or None,
            ),
        ),
        signing_key=signing.get("key") or None,
    )


def _with_lower_scheme(url: str | None) -> str:
    return re.sub(r"\A[A-Za-z][A-Za-z0-9+.-]*(?=://)", lambda scheme: scheme[0].lower(), url or "")


def _age_limits(value: Any) -> AgeLimits:
    if isinstance(value, Mapping):
        return AgeLimits(MAX_DEFINITIONS_AGE, dict(value))
    return AgeLimits(value, {})


# --- the keys -----------------------------------------------------------------------------------------------------

_CHANNEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}\Z")
# A check returns what is wrong with a value, or nothing.
Check = Callable[[Any], Optional[str]]


def _boolean(value: Any) -> str | None:
    if isinstance(value, bool):
        return None
    return f"must be true or false without quotes, not {_shown(value)}"


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) else f"must be a string, not {_shown(value)}"


def _absolute(value: Any) -> str | None:
    if isinstance(value, str) and value.startswith("/") and _possible(value):
        return None
    return f"must be an absolute path, not {_shown(value)}"


def _possible(path: str) -> bool:
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def _optional_path(value: Any) -> str | None:
    return None if value in (None, "") else _absolute(value)


def _number(low: float, high: float, whole: bool = True) -> Check:
    kinds = (int,) if whole else (int, float)

    def check(value: Any) -> str | None:
        if isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high:
            return None
        kind = "a whole number" if whole else "a number"
        return f"must be {kind} from {low} to {high}, not {_shown(value)}"

    return check


def _hours(value: Any) -> str | None:
    """Hours, or a mapping of channels to hours."""
    fits = _number(0, 10**6, whole=False)
    if not isinstance(value, Mapping):
        fault = fits(value)
        return f"{fault}, or an object with the hours of channels" if fault else None
    for name, hours in value.items():
        if not isinstance(name, str) or not _CHANNEL.match(name):
            return f"cannot hold {_shown(name)}, which is not the name of a channel"
        fault = fits(hours)
        if fault:
            return f"of {name} {fault}"
    return None


def _texts(choices: tuple[str, ...] = (), empty: bool = False) -> Check:
    def check(value: Any) -> str | None:
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            return f"must be a list of strings, not {_shown(value)}"
        if not value and not empty:
            return "must not be empty"
        unknown = [item for item in value if choices and item not in choices]
        if unknown:
            return "accepts {}, but not {}".format(", ".join(choices), ", ".join(map(_shown, unknown)))
        if len(set(value)) != len(value):
            return "names an entry twice"
        return None

    return check


def _channel_names(value: Any) -> str | None:
    fault = _texts(empty=True)(value)
    if fault:
        return fault
    for name in value:
        if name in RINGS or name.endswith("_back") or not _CHANNEL.match(name):
            return (
                f"cannot contain {_shown(name)}: a name consists of a-z, 0-9, _ and -, does not end in _back, and is "
                f"not one of Microsoft's rings ({', '.join(RINGS)})"
            )
    return None


def _choice(*choices: str) -> Check:
    def check(value: Any) -> str | None:
        if value in choices:
            return None
        return "must be {}, not {}".format(" or ".join(repr(choice) for choice in choices), _shown(value))

    return check


def _mapping(value: Any) -> str | None:
    return None if isinstance(value, Mapping) else f"must be an object, not {_shown(value)}"


def _service_url(value: Any) -> str | None:
    if value is None:
        return None
    return _url(value, ("https", "http"), "https://go.microsoft.com/fwlink/")


def _proxy(value: Any) -> str | None:
    if value in (None, ""):
        return None
    return _url(value, ("http",), "http://proxy.example.com:3128", userinfo=True, path=False)


def _script_url(value: Any) -> str | None:
    """The address of Microsoft's script. What git would take for an option or for another transport is refused."""
    if value in (None, "") or _absolute(value) is None:
        return None
    if isinstance(value, str) and "://" not in value:
        if re.match(r"[\w][\w.-]*@[\w][\w.-]*:[!-~]+\Z", value, re.ASCII) and ":-" not in value:
            return None
        return f"must be an address such as {_REPOSITORY} or git@host:path, or an absolute path"
    fault = _url(value, ("https", "http", "ssh", "file"), _REPOSITORY, userinfo=True)
    if fault:
        return fault
    parts = urlsplit(value)
    if parts.scheme == "file":
        return _absolute(unquote(parts.path)) and "must name an absolute path after file://"
    words = unquote(f"{parts.username or ''}{parts.password or ''}")
    if not words.isprintable() or (parts.hostname or "").startswith("-") or (parts.username or "").startswith("-"):
        return f"must be an address such as {_REPOSITORY}"
    if parts.scheme == "ssh" and parts.password is not None:
        return "must not contain a password: ssh uses a key of the account that runs the sync"
    return None


def _commit(value: Any) -> str | None:
    if value in (None, "") or (isinstance(value, str) and re.match(r"[0-9A-Fa-f]{40}\Z", value)):
        return None
    return f"must be the 40 hexadecimal digits of a commit, not {_shown(value)}"


def _url(value: Any, schemes: tuple[str, ...], sample: str, userinfo: bool = False, path: bool = True) -> str | None:
    # The value is not shown, because it may contain a password in an unexpected place.
    advice = f"must be an address such as {sample}"
    if not isinstance(value, str):
        return advice
    if not userinfo and "@" in value:
        return "must not contain a user or password"
    if userinfo and needs_encoding(value):
        return f"{advice}, and its user and password {ENCODE}"
    if not re.match(r"[!-~]+\Z", value):
        return advice
    try:
        parts = urlsplit(value)
        local = parts.scheme == "file" and parts.netloc in ("", "localhost")
        usable = parts.scheme in schemes and (local or _is_host_and_port(parts.netloc.rpartition("@")[2]))
    except ValueError:
        usable = False
    if not usable or "#" in value:
        return advice
    if not path and (parts.path not in ("", "/") or "?" in value):
        return "must end after the port"
    return None


def needs_encoding(address: str) -> bool:
    """Whether user or password contain a character that ends them, or that no address may contain."""
    return re.search(r"[/?#\[\]]|[^!-~]", user_part(address)) is not None


def _is_host_and_port(text: str) -> bool:
    """HOST or HOST:PORT, with a name that is valid in DNS or an IPv6 address in brackets."""
    found = _HOST_AND_PORT.match(text)
    if found is None or (found["port"] is not None and not 0 < int(found["port"]) < 65536):
        return False
    if found["ipv6"] is None:
        return len(found["name"]) <= 253
    try:
        socket.inet_pton(socket.AF_INET6, found["ipv6"])
    except (OSError, ValueError):
        return False
    return True


def _shown(value: Any) -> str:
    # The content is not shown, because it may contain a password in an unexpected place.
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, Mapping):
        return "an object"
    shown = json.dumps(masked(value, address=True) if isinstance(value, str) else value, default=str)
    return shown if len(shown) <= 60 else shown[:57] + "..."


_TOP: dict[str, tuple[Check, Any]] = {
    "downloadFolder": (_absolute, DEFAULT_ROOT),
    "downloadLinuxUpdates": (_boolean, True),
    "downloadMacUpdates": (_boolean, False),
    "downloadPreviewUpdates": (_boolean, False),
    "backupPreviousUpdates": (_boolean, True),
    "logFilePath": (_optional_path, None),
    "architectures": (_texts(ARCHITECTURES), list(ARCHITECTURES)),
    "channels": (_channel_names, []),
    "retain": (_number(1, 1000), 3),
    "parallel": (_number(1, 32), 4),
    "rateLimit": (_number(0, 10**12), 0),
    "maxDefinitionsAge": (_hours, MAX_DEFINITIONS_AGE),
    "verify": (_mapping, {}),
    "source": (_mapping, {}),
    "signing": (_mapping, {}),
}
_VERIFY: dict[str, tuple[Check, Any]] = {
    "minBytes": (_number(1, 10**12), 1),
    "maxBytes": (_number(1, 10**12), 2048 * MIB),
    "expectedMembers": (_texts(empty=True), []),
}
_SOURCE: dict[str, tuple[Check, Any]] = {
    "type": (_choice("microsoft", "mirror", "script"), "microsoft"),
    "url": (_service_url, None),
    "script": (_mapping, {}),
    "caFile": (_optional_path, None),
    "clientCert": (_optional_path, None),
    "clientKey": (_optional_path, None),
    "proxy": (_proxy, None),
    "allowedHosts": (_texts(empty=True), []),
    "retries": (_number(0, 100), 3),
    "timeout": (_number(0.1, 3600, whole=False), 30),
    "connectTimeout": (_number(0.1, 3600, whole=False), 10),
    "minSpeed": (_number(0, 10**9), 16 * 1024),
    "trustedKeys": (_optional_path, None),
    "unsigned": (_boolean, False),
}
_SIGNING: dict[str, tuple[Check, Any]] = {
    "key": (_optional_path, None),
}
_SCRIPT: dict[str, tuple[Check, Any]] = {
    "path": (_optional_path, None),
    "url": (_script_url, None),
    "commit": (_commit, None),
}
# Former names of keys, with the present names.
_RENAMED = {
    "source.path": "source.script.path",
    "source.origin": "source.script.url",
    "source.commit": "source.script.commit",
}


class _Fields:
    """The values of one object of the settings: checked, with defaults filled in; faults go to the common list."""

    def __init__(self, fields: Any, prefix: str, known: dict[str, tuple[Check, Any]], faults: list[str]) -> None:
        self._values = {name: default for name, (_check, default) in known.items()}
        if not isinstance(fields, Mapping):
            if not prefix:
                faults.append(f"an object with keys is expected, not {_shown(fields)}")
            return
        for name, value in fields.items():
            if f"{prefix}{name}" in _RENAMED:
                faults.append(f"the key {prefix}{name} is now {_RENAMED[prefix + name]}")
                continue
            if name not in known:
                import difflib

                near = difflib.get_close_matches(str(name), known, 1, 0.7)
                faults.append(
                    "unknown key {}{}{}".format(prefix, name, " (did you mean {}?)".format(*near) if near else "")
                )
                continue
            fault = known[name][0](value)
            if fault:
                faults.append(f"{prefix}{name} {fault}")
            else:
                self._values[name] = value

    def get(self, name: str) -> Any:
        return self._values[name]


def _check_together(top: _Fields, verify: _Fields, source: _Fields, script: _Fields, faults: list[str]) -> None:
    """Checks that concern several keys."""
    if verify.get("minBytes") > verify.get("maxBytes"):
        faults.append("verify.minBytes is above verify.maxBytes")
    if not (top.get("downloadLinuxUpdates") or top.get("downloadMacUpdates")):
        faults.append("downloadLinuxUpdates and downloadMacUpdates are both off, so there is nothing to mirror")
    if source.get("clientKey") and not source.get("clientCert"):
        faults.append("source.clientKey has no effect without source.clientCert")
    if source.get("type") == "mirror" and not source.get("url"):
        faults.append("source.url is missing: it must be the root of the mirror to copy")
    _check_script(source, script, faults)
    parts = urlsplit(source.get("url") or SERVICE_URL)
    if parts.scheme == "http" and (parts.hostname or "").endswith(".microsoft.com"):
        faults.append("source.url must use https: Microsoft's service is not offered over plain http")
    for key in ("caFile", "clientCert", "clientKey"):
        path = source.get(key)
        if path and not Path(path).is_file():
            faults.append(f"source.{key} names a file that does not exist: {path}")


def _check_trust(source: _Fields, signing: _Fields, faults: list[str]) -> None:
    """Checks what proves the origin of packages, and what signs."""
    trusted, unsigned = source.get("trustedKeys"), source.get("unsigned")
    if trusted and unsigned:
        faults.append(
            "source.trustedKeys and source.unsigned are mutually exclusive: where keys are trusted, unsigned data is "
            "refused"
        )
    plain = urlsplit(source.get("url") or SERVICE_URL).scheme == "http"
    if source.get("type") == "mirror" and plain and not trusted and not unsigned:
        faults.append(
            "source.url is plain http, so anybody on the network path can change the packages: name the keys that "
            "sign its status in source.trustedKeys, use https, or accept the risk with source.unsigned true"
        )
    for key, path in (("source.trustedKeys", trusted), ("signing.key", signing.get("key"))):
        if path and not Path(path).is_file():
            faults.append(f"{key} names a file that does not exist: {path}")


def _check_script(source: _Fields, script: _Fields, faults: list[str]) -> None:
    folder, url = bool(script.get("path")), bool(script.get("url"))
    if source.get("type") != "script":
        named = [key for key in _SCRIPT if script.get(key)]
        faults.extend(f"source.script.{key} is for source.type script only" for key in named)
        return
    if folder and url:
        faults.append("source.script.path (a folder that you maintain) and source.script.url are mutually exclusive")
    if not folder and not url:
        faults.append(
            "source.script.path (the folder with Microsoft's script) or source.script.url (where to get it) is "
            "missing: source.type script needs one of them"
        )
    if script.get("commit") and not url:
        faults.append("source.script.commit has no effect without source.script.url")
