"""Versions of a package: parsed safely from Microsoft's XML and manifests, compared numerically."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.parsers import expat

from .errors import MirrorError
from .times import readable

if TYPE_CHECKING:
    from typing import TypeGuard

MAX_XML_BYTES = 64 * 1024
_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){1,5}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_DATE = re.compile(r"(\d{4}-\d{2}-\d{2})[ T](\d{2}:\d{2}:\d{2})(?:\.\d+)?Z?\Z")


def version_key(version: str) -> tuple[int, ...]:
    """The numbers of a dotted version, so that 1.443.10.0 sorts above 1.443.9.0."""
    return tuple(int(part) for part in version.split("."))


def is_version(text: object) -> TypeGuard[str]:
    return isinstance(text, str) and _VERSION.match(text) is not None


def is_sha256(text: object) -> TypeGuard[str]:
    return isinstance(text, str) and _SHA256.match(text) is not None


class Offer(NamedTuple):
    """What another mirror says about a channel: its package, the time of its publication, and the hold, if any.

    - `withdrawn`: the definitions and engines that a rollback took away there; None if that mirror does not say.
    - `proven`: it is known that the mirror says so, by a signature or by TLS.
    - `accepted`: the codes of refusals that the operator overrode to read it.
    """

    sha256: str
    published: str | None = None
    held: tuple[tuple[str, str], ...] = ()
    withdrawn: tuple[tuple[str, str], ...] | None = None
    proven: bool = False
    accepted: tuple[str, ...] = ()

    def took_back(self, served: Versions) -> bool:
        """True if an operator rolled the channel back there from what is served here."""
        if self.withdrawn is None:
            return dict(self.held).get("kind") == "rollback"
        return (served.definitions, served.engine) in self.withdrawn

    def reason(self) -> str:
        """For messages: why that mirror serves this package, according to its status."""
        held = dict(self.held)
        if not held:
            return "its status does not show a hold of the channel"
        what = "was rolled back" if held.get("kind") == "rollback" else "is held"
        who = f" by {held['by']}" if held.get("by") else ""
        when = f" since {held['since']}" if held.get("since") else ""
        why = f": {held['reason']}" if held.get("reason") else ""
        return f"the channel {what} there{who}{when}{why}"


class Versions(NamedTuple):
    """The versions in a package. `date` is the date of the definitions (ISO 8601 UTC), if the source gives it. `offer`
    is what another mirror says in addition; Microsoft's service gives only versions.
    """

    definitions: str
    engine: str
    date: str | None = None
    offer: Offer | None = None

    @property
    def sha256(self) -> str:
        """The SHA-256 of the package if another mirror gives it, else ""."""
        return self.offer.sha256 if self.offer else ""

    def same_as(self, other: Versions) -> bool:
        return (version_key(self.definitions), version_key(self.engine)) == (
            version_key(other.definitions),
            version_key(other.engine),
        )

    def lower_than(self, other: Versions) -> bool:
        """True if the definitions or the engine are older."""
        return version_key(self.definitions) < version_key(other.definitions) or version_key(self.engine) < version_key(
            other.engine
        )

    def has_lower_definitions_than(self, other: Versions) -> bool:
        return version_key(self.definitions) < version_key(other.definitions)

    def as_dict(self) -> dict[str, str]:
        return {"definitions_version": self.definitions, "engine_version": self.engine}

    def manifest(self) -> bytes:
        """`manifest.json` as Microsoft's script writes it and existing tooling reads it."""
        fields = {"EngineVersion": self.engine, "DefinitionVersion": self.definitions}
        return (json.dumps(fields) + "\n").encode()

    def __str__(self) -> str:
        return f"definitions {self.definitions}, engine {self.engine}"


def from_manifest(data: bytes) -> Versions:
    """The versions a `manifest.json` names. Raises `ValueError` for anything else than two versions."""
    try:
        fields: Any = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(fields, dict):
        raise ValueError("not a JSON object")
    engine, definitions = fields.get("EngineVersion"), fields.get("DefinitionVersion")
    if not (is_version(engine) and is_version(definitions)):
        raise ValueError("EngineVersion or DefinitionVersion is missing or not a version")
    return Versions(definitions, engine)


def from_xml(data: bytes, where: str) -> Versions:
    """The versions in the answer to `action=info`: root `versions`, children `engine` and `signatures` (with `date`).

    Refuses a document type declaration (and so all entities), an answer of more than 64 KiB, and values that are not
    versions.
    """
    if len(data) > MAX_XML_BYTES:
        raise _bad(where, f"is larger than {MAX_XML_BYTES} bytes")
    reader = _Reader()
    try:
        reader.parser.Parse(data, True)
    except expat.ExpatError as error:
        raise _bad(where, f"is not well-formed XML ({error})") from None
    except (ValueError, LookupError) as error:
        raise _bad(where, str(error)) from None
    found = reader.texts
    for name in ("engine", "signatures"):
        if len(found.get(name, [])) != 1:
            raise _bad(where, f"has {len(found.get(name, []))} <{name}> elements where one is expected")
        if not is_version(found[name][0]):
            raise _bad(where, f"has no version in <{name}>: {found[name][0][:40]!r}")
    return Versions(found["signatures"][0], found["engine"][0], _iso(reader.date))


def _iso(date: str | None) -> str | None:
    match = _DATE.match((date or "").strip())
    iso = "{}T{}Z".format(*match.groups()) if match else None
    return readable(iso)


def _bad(where: str, what: str) -> MirrorError:
    return MirrorError(
        "bad_versions",
        f"the answer with the versions from {where} {what}",
        "A proxy may answer in place of the service: open the address by hand. If the content is right, try later.",
        retriable=True,
    )


class _Reader:
    """Collects the texts of the children of <versions>."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        self.date: str | None = None
        self._path: list[str] = []
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def _doctype(self, *_args: object) -> None:
        raise ValueError("declares a document type, which no response of the service does")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if not self._path and name != "versions":
            raise ValueError(f"has the root element <{name[:40]}> where <versions> is expected")
        self._path.append(name)
        if len(self._path) == 2:
            self.texts.setdefault(name, []).append("")
            if name == "signatures":
                self.date = attributes.get("date")

    def _end(self, name: str) -> None:
        if len(self._path) == 2:
            self.texts[name][-1] = self.texts[name][-1].strip()
        self._path.pop()

    def _text(self, text: str) -> None:
        if len(self._path) == 2:
            self.texts[self._path[1]][-1] += text
