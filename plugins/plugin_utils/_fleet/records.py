# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns the result of one host into a typed record. Private to the collection; controller only.

A host's result is untrusted input: this file checks every value once, and the rest of the report relies on the types.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

SEVERITIES = ("error", "warning", "info")
_MOST_FINDINGS = 200
_MOST_VALUES = 50_000
_DEEPEST = 12
_LONGEST_TEXT = 10_000
_LONGEST_CELL = 1_000
_LARGEST_NUMBER = 10**20
_MOST_PROBLEMS = 5


@dataclass(frozen=True)
class Failure:
    """What Ansible reported about a host whose module returned no result."""

    unreachable: bool
    empty: bool
    message: str


@dataclass(frozen=True)
class Endpoint:
    """What `health_info`, `preflight_info` or `diagnosis_info` returned on one host."""

    answered: bool
    failure: Failure
    agent_version: str | None
    definitions_version: str | None
    engine_version: str | None
    definitions_age_minutes: int | None
    definitions_status: str | None
    source: str | None
    mirror: str | None
    findings: list[dict[str, Any]]
    problems: list[str]


# The limit of a mirror that does not say its own, in hours.
DEFAULT_MAX_AGE_HOURS = 72.0


@dataclass(frozen=True)
class Channel:
    """One channel of a mirror; `fields` is everything that the mirror returned for it.

    `max_age_hours` is the age that the mirror allows for its definitions; 0 means no limit.
    """

    name: str
    definitions_version: str | None
    engine_version: str | None
    age_seconds: float | None
    max_age_hours: float
    held: bool
    held_reason: str | None
    fields: dict[str, Any]


@dataclass(frozen=True)
class SyncError:
    """One error of the last sync; `unit` is empty if the error concerns the whole sync."""

    unit: str
    message: str
    hint: str


@dataclass(frozen=True)
class Mirror:
    """What `mirror_info` returned on one host."""

    answered: bool
    failure: Failure
    root: str | None
    channels: list[Channel]
    sync_errors: list[SyncError]
    last_success: str | None
    problems: list[str]


def endpoint(result: Any) -> Endpoint:
    """The record of an endpoint. Never raises; `problems` names the values that were not usable."""
    reader = _Reader()
    data = reader.root(result)
    fields = reader.mapping(reader.mapping(data, "health", ""), "fields", "health")

    def cell(name: str) -> str | None:
        return reader.cell(fields, name, "health.fields")

    return Endpoint(
        answered=isinstance(reader.item(data, "findings", ""), (list, tuple)),
        failure=_failure(reader, data, result),
        agent_version=cell("app_version"),
        definitions_version=cell("definitions_version"),
        engine_version=cell("engine_version"),
        definitions_age_minutes=reader.integer(fields, "definitions_updated_minutes_ago", "health.fields"),
        definitions_status=cell("definitions_status"),
        source=cell("definitions_update_source_uri"),
        mirror=cell("offline_definition_url_configured"),
        findings=list(_findings(reader, data)),
        problems=reader.problems,
    )


def mirror(result: Any) -> Mirror:
    """The record of a mirror. Never raises; `problems` names the values that were not usable."""
    reader = _Reader()
    data = reader.root(result)
    status = reader.mapping(data, "mirror", "")
    last = reader.mapping(status, "last_sync", "mirror")
    return Mirror(
        answered=bool(status),
        failure=_failure(reader, data, result),
        root=reader.cell(status, "root", "mirror"),
        channels=[_channel(reader, fields, where) for fields, where in reader.mappings(status, "channels", "mirror")],
        sync_errors=list(_sync_errors(reader, last)),
        # Version 0.1.0 returned no current_as_of.
        last_success=reader.cell(status, "current_as_of", "mirror") or reader.cell(status, "last_success", "mirror"),
        problems=reader.problems,
    )


def _failure(reader: _Reader, data: Mapping[Any, Any], result: Any) -> Failure:
    message = reader.plain(reader.item(data, "msg", ""))
    return Failure(
        unreachable=reader.item(data, "unreachable", "") is True,
        empty=result is None or (isinstance(result, Mapping) and not result),
        message=str(message or "").strip(),
    )


def _findings(reader: _Reader, data: Mapping[Any, Any]) -> Iterator[dict[str, Any]]:
    for finding, where in reader.mappings(data, "findings", "", _MOST_FINDINGS):
        name = reader.cell(finding, "id", where)
        if not name:
            reader.odd(f"{where}.id", "is missing or not a string")
            continue
        severity = finding.get("severity")
        if severity not in SEVERITIES:
            reader.odd(f"{where}.severity", f"is not one of {', '.join(SEVERITIES)}")
            severity = "error"
        texts = {key: reader.text(finding, key, where) or "" for key in ("message", "hint")}
        yield {**finding, "id": name, "severity": severity, **texts}


def _channel(reader: _Reader, fields: dict[str, Any], where: str) -> Channel:
    held = reader.mapping(fields, "held", where)
    names = ("platform", "channel", "arch", "definitions_version", "engine_version")
    known: dict[str, Any] = {name: reader.cell(fields, name, where) for name in names}
    known.update(age_seconds=reader.number(fields, "age_seconds", where), held=held or None)
    limit = reader.number(fields, "max_definitions_age_hours", where)
    return Channel(
        name=unit_name(known),
        definitions_version=known["definitions_version"],
        engine_version=known["engine_version"],
        age_seconds=known["age_seconds"],
        max_age_hours=DEFAULT_MAX_AGE_HOURS if limit is None else limit,
        held=bool(held),
        held_reason=reader.text(held, "reason", f"{where}.held"),
        fields={**fields, **known},
    )


def _sync_errors(reader: _Reader, last: Mapping[Any, Any]) -> Iterator[SyncError]:
    for unit, where in reader.mappings(last, "units", "mirror.last_sync"):
        error = reader.mapping(unit, "error", where)
        if error:
            names = {name: reader.cell(unit, name, where) for name in ("platform", "channel", "arch")}
            yield _sync_error(reader, unit_name(names), error, f"{where}.error")
    for error, where in reader.mappings(last, "errors", "mirror.last_sync"):
        yield _sync_error(reader, "", error, where)


def _sync_error(reader: _Reader, unit: str, error: Mapping[Any, Any], where: str) -> SyncError:
    return SyncError(unit, reader.text(error, "message", where) or "", reader.text(error, "hint", where) or "")


def unit_name(fields: Mapping[str, Any]) -> str:
    """`linux/production/x86_64`, from the fields of a channel or of an entry of a sync."""
    return "/".join(fields[name] or "?" for name in ("platform", "channel", "arch"))


@dataclass
class _Reader:
    """Reads the values of one result by type. A value of another type counts as absent and is named in `problems`."""

    problems: list[str] = field(default_factory=list)
    left: int = _MOST_VALUES

    def odd(self, where: str, what: str) -> None:
        # A hostile result must not fill the report, so only the first problems are kept.
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(f"{where} {what}")

    def root(self, result: Any) -> Mapping[Any, Any]:
        if isinstance(result, Mapping):
            return result
        if result is not None:
            self.odd("The result", f"is {_kind(result)}, not a mapping")
        return {}

    def item(self, container: Any, key: Any, where: str) -> Any:
        try:
            return container[key]
        except KeyError:
            return None
        # ansible-core renders an element when it is read, which can fail with any exception.
        except Exception as error:
            self.odd(_place(where, key), f"cannot be read ({type(error).__name__})")
            return None

    def mapping(self, data: Mapping[Any, Any], name: str, where: str) -> Mapping[Any, Any]:
        value = self.item(data, name, where)
        if value is None or isinstance(value, Mapping):
            return value or {}
        self._wrong(where, name, value, "a mapping")
        return {}

    def mappings(
        self, data: Mapping[Any, Any], name: str, where: str, most: int = _MOST_VALUES
    ) -> Iterator[tuple[dict[str, Any], str]]:
        """The mappings of a list as plain data, each with its place in the result."""
        value = self.item(data, name, where)
        if value is None:
            return
        if not isinstance(value, (list, tuple)):
            self._wrong(where, name, value, "a list")
            return
        place = _place(where, name)
        if len(value) > most:
            self.odd(place, f"has {len(value)} entries")
        for index in range(min(len(value), most)):
            item = self.plain(self.item(value, index, place), f"{place}[{index}]")
            if isinstance(item, dict):
                yield item, f"{place}[{index}]"
            elif self.left > 0:
                self.odd(f"{place}[{index}]", f"is {_kind(item)}, not a mapping")

    def text(self, data: Mapping[Any, Any], name: str, where: str) -> str | None:
        value = self.item(data, name, where)
        if value is None or isinstance(value, str):
            return None if value is None else _bounded(value)
        self._wrong(where, name, value, "a string")
        return None

    def cell(self, data: Mapping[Any, Any], name: str, where: str) -> str | None:
        """A string that fits into one cell of a table."""
        value = self.text(data, name, where)
        if value is None:
            return None
        if "\n" in value or "\ufffd" in value or len(value) > _LONGEST_CELL:
            self.odd(_place(where, name), "is not one short line of printable characters")
            return " ".join(value[:_LONGEST_CELL].split())
        return value

    def number(self, data: Mapping[Any, Any], name: str, where: str) -> float | None:
        value = self.item(data, name, where)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self._wrong(where, name, value, "a number")
            return None
        return self._in_range(value, _place(where, name))

    def integer(self, data: Mapping[Any, Any], name: str, where: str) -> int | None:
        value = self.number(data, name, where)
        if isinstance(value, float):
            self._wrong(where, name, value, "an integer")
        return value if isinstance(value, int) else None

    def plain(self, value: Any, where: str = "", depth: int = 0) -> Any:
        """A copy as plain JSON data of bounded size: long texts are cut, and what JSON lacks becomes null."""
        self.left -= 1
        if self.left <= 0 or depth > _DEEPEST:
            self.odd(where, "is nested too deeply" if self.left > 0 else "is where the result becomes too large")
            return None
        if isinstance(value, str):
            return _bounded(value)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, (int, float)):
            return self._in_range(value, where)
        if isinstance(value, Mapping):
            return self._plain_mapping(value, where, depth)
        if isinstance(value, (list, tuple)):
            indexes = range(min(len(value), self.left))
            return [self.plain(self.item(value, index, where), _place(where, index), depth + 1) for index in indexes]
        self.odd(where, f"is {_kind(value)}")
        return None

    def _plain_mapping(self, value: Mapping[Any, Any], where: str, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key in value:
            if self.left <= 0:
                break
            name = _bounded(key if isinstance(key, str) else str(key), _LONGEST_CELL)
            found[name] = self.plain(self.item(value, key, where), _place(where, name), depth + 1)
        return found

    def _in_range(self, value: float, where: str) -> float | None:
        if abs(value) <= _LARGEST_NUMBER:
            return value
        self.odd(where, "is a number out of range")
        return None

    def _wrong(self, where: str, name: str, value: Any, wanted: str) -> None:
        self.odd(_place(where, name), f"is {_kind(value)}, not {wanted}")


def _place(where: str, key: object) -> str:
    if isinstance(key, int):
        return f"{where}[{key}]"
    return f"{where}.{str(key)[:60]}".lstrip(".")


def _kind(value: Any) -> str:
    kinds = ((bool, "a boolean"), (int, "an integer"), (float, "a number"), (str, "a string"), (list, "a list"))
    for kind, words in (*kinds, (Mapping, "a mapping")):
        if isinstance(value, kind):
            return words
    return "null" if value is None else f"of type {type(value).__name__}"


def _bounded(text: str, longest: int = _LONGEST_TEXT) -> str:
    """The text, cut if it is too long, without characters that control a terminal or cannot be encoded.

    Line breaks are kept. `str.__str__` drops the tags that ansible-core puts on strings.
    """
    text = str.__str__(text)
    if len(text) > longest:
        text = text[: longest - 3] + "..."
    if text.isprintable():
        return text
    return "\n".join("".join(map(_printable, line)) for line in text.replace("\r\n", "\n").split("\n"))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character == "\t" or unicodedata.category(character) == "Zs" else "\ufffd"
