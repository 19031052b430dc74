"""A managed configuration as the rules read it: plain data, read by path, of any type.

Private to the mde.offline collection; it may change without notice.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .findings import ERROR, Finding, Path, rule
from .versions import AgentVersion, parse

MAX_DEPTH = 32
MAX_VALUES = 200_000
_ENCRYPTED = {"AnsibleVaultEncryptedUnicode", "EncryptedString"}  # str() decrypts them; neither is a str

TOO_DEEP = rule(
    "too_deep",
    ERROR,
    "Nested too deeply, or far too large",
    f"The data is nested deeper than {MAX_DEPTH} levels, refers to itself, or contains more than {MAX_VALUES} values. "
    "A managed configuration needs five levels; nothing else in the file was checked.",
    "Look for a structure that contains itself or was pasted into itself, and remove it.",
)


class TooDeepError(Exception):
    """The data cannot be a managed configuration."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.finding = TOO_DEEP.at(path[:6], TOO_DEEP.meaning)


def plain(value: Any) -> Any:
    """A plain copy of data from Ansible (tagged, lazy, encrypted). Values of types that JSON lacks stay unchanged."""
    left = MAX_VALUES

    def convert(value: Any, path: Path) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or len(path) > MAX_DEPTH:
            raise TooDeepError(path)
        if isinstance(value, Mapping):
            return {text(name): convert(value[name], (*path, text(name))) for name in value}
        if isinstance(value, (list, tuple)):
            return [convert(item, (*path, index)) for index, item in enumerate(value)]
        if type(value).__name__ in _ENCRYPTED:
            return str(value)
        for kind in (str, bool, int, float):
            if isinstance(value, kind):
                return kind(value)
        return value

    def text(name: Any) -> str:
        return str.__str__(name) if isinstance(name, str) else str(name)

    return convert(value, ())


class ManagedConfig:
    """Read access for rules: a value of another type than asked for counts as absent."""

    def __init__(self, data: dict[str, Any], agent: str | None = None) -> None:
        self.data = data
        self.agent: AgentVersion | None = None if agent is None else parse(agent)
        self.agent_text = str(agent).strip()

    def value(self, *path: str) -> Any:
        """The value at `path`, or None."""
        found: Any = self.data
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found

    def has(self, *path: str) -> bool:
        parent = self.value(*path[:-1])
        return isinstance(parent, dict) and path[-1] in parent

    def text(self, *path: str) -> str | None:
        found = self.value(*path)
        return found if isinstance(found, str) else None

    def integer(self, *path: str) -> int | None:
        found = self.value(*path)
        return found if isinstance(found, int) and not isinstance(found, bool) else None

    def objects(self, *path: str) -> Iterator[tuple[Path, dict[str, Any]]]:
        """The objects in the array at `path`, each with its own path."""
        found = self.value(*path)
        for index, item in enumerate(found if isinstance(found, list) else []):
            if isinstance(item, dict):
                yield (*path, index), item

    def strings(self, *path: str) -> Iterator[tuple[Path, str]]:
        found = self.value(*path)
        for index, item in enumerate(found if isinstance(found, list) else []):
            if isinstance(item, str):
                yield (*path, index), item

    def older_than(self, version: str) -> bool:
        """Whether the agent is known to be older; False if its version is unknown."""
        return self.agent is not None and self.agent < parse(version)

    def level(self) -> str | None:
        """The enforcement level that this file leads to; None if the value given is not one."""
        engine = self.value("antivirusEngine")
        if self.has("antivirusEngine", "enforcementLevel"):
            given = engine["enforcementLevel"]
            return given if given in ("real_time", "audit", "on_demand", "passive") else None
        if self.value("antivirusEngine", "passiveMode") is True:
            return "passive"
        if self.value("antivirusEngine", "enableRealTimeProtection") is True or self.older_than("101.23062.0001"):
            return "real_time"
        return "passive"

    def offline(self) -> bool:
        return self.text("antivirusEngine", "offlineDefinitionUpdate") == "enabled"


Findings = Iterator[Finding]
