"""Rules, their findings, and the text of values and places in messages, without secrets.

Private to the mde.offline collection; it may change without notice.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, TypedDict, Union

from .masking import masked

ERROR, WARNING, INFO = "error", "warning", "info"
_RANK = {ERROR: 0, WARNING: 1, INFO: 2}
_SHOWN = 60

Path = tuple[Union[str, int], ...]


class FindingDict(TypedDict):
    """A finding as filters, modules and reports return it."""

    id: str
    severity: str
    path: str
    message: str
    hint: str


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong; `id` is a public contract."""

    id: str
    severity: str
    title: str
    meaning: str
    remedy: str

    def at(self, path: Path, message: str, hint: str = "") -> Finding:
        return Finding(self, path, message, hint or self.remedy)


@dataclass(frozen=True)
class Finding:
    rule: Rule
    path: Path
    message: str
    hint: str = field(default="")

    def order(self) -> tuple[Any, ...]:
        place = tuple((0, part, "") if isinstance(part, int) else (1, 0, part) for part in self.path)
        return (_RANK[self.rule.severity], place, self.rule.id, self.message, self.hint)

    def as_dict(self) -> FindingDict:
        return {
            "id": self.rule.id,
            "severity": self.rule.severity,
            "path": dotted(self.path),
            "message": self.message,
            "hint": self.hint,
        }


RULES: dict[str, Rule] = {}


def rule(rule_id: str, severity: str, title: str, meaning: str, remedy: str) -> Rule:
    """Register a rule. Every id exists once. The documentation is generated from this register."""
    if rule_id in RULES:
        raise ValueError(f"the rule {rule_id} is registered twice")
    RULES[rule_id] = Rule(rule_id, severity, title, meaning, remedy)
    return RULES[rule_id]


def dotted(path: Path) -> str:
    """`antivirusEngine.exclusions[2].path`; the whole file is `$`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z_$][A-Za-z0-9_$-]*", part) and len(part) <= _SHOWN:
            text += f".{part}" if text else part
        else:
            text += f"[{show(part)}]"
    return text or "$"


def show(value: object) -> str:
    """A value as JSON for a message: masked, short, printable. For containers, only the kind is shown."""
    if isinstance(value, str):
        text = masked(value)
        return _readable_json(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")
    if value is None or isinstance(value, (bool, int, float)):
        text = json.dumps(value)
        return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
    return kind_of(value)


def kind_of(value: object) -> str:
    """The JSON kind of a value, in words."""
    if value is None:
        return "null"
    kinds = ((bool, "a boolean"), (int, "an integer"), (float, "a number"), (str, "a string"))
    for python, words in (*kinds, (Mapping, "an object"), (list, "an array")):
        if isinstance(value, python):
            return words
    if isinstance(value, date):
        return "a date, as YAML reads it without quotes"
    return f"a value of type {type(value).__name__}, which JSON does not have"


def write(key: object, literal: object) -> str:
    """The corrected line."""
    return f"Write {json.dumps(str(key))}: {_readable_json(literal)}"


def _readable_json(value: object) -> str:
    """JSON with non-ASCII letters as they are. Lone surrogates, which UTF-8 cannot encode, are escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
