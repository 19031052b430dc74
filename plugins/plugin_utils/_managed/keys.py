"""Keys that the schema does not know: what they were meant to be, and where they belong.

Private to the mde.offline collection: no promise is made to others.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
from typing import Any

from . import spec
from .findings import ERROR, INFO, WARNING, Finding, Path, dotted, rule, show
from .managed import Findings, Managed
from .names import bare, near

UNKNOWN_KEY = rule(
    "unknown_key",
    ERROR,
    "A key that nobody documents",
    "The agent does not know this key. At best it does nothing; whether the agent then drops the rest of the file is "
    "not documented.",
    "Remove it, or look up the right name on the reference page of all keys.",
)
MISSPELT_KEY = rule(
    "misspelt_key",
    ERROR,
    "A key that is misspelt",
    "The name differs from a known one by a few letters, by case or by underscores. The agent ignores it silently.",
    "Write the name as the hint has it; case counts.",
)
MISPLACED_KEY = rule(
    "misplaced_key",
    ERROR,
    "A key in the wrong section",
    "The key exists, but in another section. Where it stands now the agent ignores it silently.",
    "Move it to the section that the hint names.",
)
NOT_LINUX_KEY = rule(
    "not_linux_key",
    ERROR,
    "A key of macOS or of the command line",
    "The key is known on macOS, or as an option of the command line. The managed file of Linux does not have it.",
    "Remove it from the file for Linux hosts.",
)
MEMORY_SCAN_UNRESOLVED = rule(
    "memory_scan_unresolved",
    INFO,
    "MemoryScan is not settled",
    "Documents disagree on the spelling, the parent and the type of this preview key, so it can be neither confirmed "
    "nor refused here. "
    "It needs agent 101.26071.0005 (Insiders slow) or 101.26072.0005.",
    "Try it on one host and look at `mdatp health --details features` before you roll it out.",
)
EDITOR_KEY = rule(
    "editor_key",
    WARNING,
    "The $schema key of editors",
    "$schema tells an editor which schema to use. The agent does not know it, and what it does with unknown keys is "
    "not documented.",
    "Keep it in the source if it helps you, but out of the file on hosts; editors can also be told the schema by "
    "file name.",
)

# Wrong names that are no slip of a finger, as bare() has them: the key that is meant, and why.
_WRONG_NAMES = {
    "offlinedefintionupdatefallbacktocloud": (
        ("antivirusEngine", "offlineDefinitionUpdateFallbackToCloud"),
        "An i is missing (Defintion), as in documentation that was printed for years; the agent ignores it and falls "
        "back as it likes.",
    ),
    "enablepassivemode": (
        ("antivirusEngine", "enforcementLevel"),
        'No document knows this name. Passive mode is "enforcementLevel": "passive", real-time protection is '
        '"real_time".',
    ),
    "automaticsamplesubmission": (
        ("cloudService", "automaticSampleSubmissionConsent"),
        'This is an old boolean of macOS. Linux has "automaticSampleSubmissionConsent": "none", "safe" or "all".',
    ),
}
_NOT_LINUX = {
    "userInterface": "It configures the user interface on macOS.",
    "tamperProtection": "Tamper protection on Linux has no key in the managed file.",
    "deviceControl": "Device control has no key for Linux.",
    "dlp": "Data loss prevention is set on macOS only.",
    "dataLossPrevention": "Data loss prevention is set on macOS only.",
    "definitionUpdateDue": "It is documented for macOS only.",
    "earlyPreview": "On Linux it is an option of the command line: mdatp edr early-preview.",
}
_COMMENTS = {
    "comment",
    "comments",
    "info",
    "note",
    "notes",
    "description",
    "possiblevalues",
    "doc",
    "readme",
    "//",
    "#",
}
_TOO_COMMON = {"enabled", "$schema"}  # a name that says nothing about where it belongs


def check(managed: Managed) -> Findings:
    yield from _check(managed.data, spec.load(), ())


def _check(value: Any, node: spec.Node, path: Path) -> Findings:
    if isinstance(value, dict) and node.get("type") == "object":
        for name, below in value.items():
            known = spec.child(node, name)
            if known is None:
                yield _unknown((*path, name), below, node)
            elif "type" not in known:
                yield _memory_scan((*path, name))
            elif path == () and name == "$schema":
                yield EDITOR_KEY.at((name,), "The agent does not know this key; it is meant for editors.")
            else:
                yield from _check(below, known, (*path, name))
    elif isinstance(value, list) and node.get("type") == "array":
        for index, item in enumerate(value):
            yield from _check(item, spec.resolve(node["items"]), (*path, index))


def _memory_scan(path: Path) -> Finding:
    return MEMORY_SCAN_UNRESOLVED.at(
        path, "Spelling, place and type of this preview key are not settled; it was not checked."
    )


def _unknown(path: Path, value: Any, node: spec.Node) -> Finding:
    name, siblings = str(path[-1]), node.get("properties", {})
    shown = show(name)
    if bare(name) == "memoryscan":
        return _memory_scan(path)
    if bare(name) in _WRONG_NAMES:
        right, why = _WRONG_NAMES[bare(name)]
        return MISSPELT_KEY.at(path, f"{shown} is not a key of the managed file.", f"{why} {_line(right, value)}")
    for candidate in siblings:
        if bare(candidate) == bare(name):
            return _misspelt(path, candidate, "Upper and lower case and underscores count.", value)
    if "." in name and spec.at(tuple(name.split("."))) is not None:
        return MISPLACED_KEY.at(path, "Dots in a name do not make sections.", _line(tuple(name.split(".")), value))
    place = _elsewhere(name, path, value)
    if place is not None and place[-1] == name:
        return _misplaced(path, place, value)
    if name in _NOT_LINUX:
        return NOT_LINUX_KEY.at(
            path, f"{shown} is not a key of the managed file on Linux.", f"Remove it. {_NOT_LINUX[name]}"
        )
    if re.fullmatch(r"disable\w+Parsing", name):
        advice = 'Remove it. Linux has "networkProtection": {"disableIcmpInspection": true} only.'
        return NOT_LINUX_KEY.at(path, f"{shown} is a key of macOS.", advice)
    if place is not None:
        return _misplaced(path, place, value)
    close = near(name, siblings)
    if close is not None:
        return _misspelt(path, close, "", value)
    place = _near_elsewhere(name, path)
    if place is not None:
        return _misplaced(path, place, value)
    if bare(name).strip("_") in _COMMENTS or name.startswith(("_", "//", "#")):
        return UNKNOWN_KEY.at(
            path, f"{shown} is not a key; it looks like a comment.", "Remove it: JSON has no comments."
        )
    known = ", ".join(sorted(name for name in siblings if name != "$schema"))
    parent = dotted(path[:-1]) if path[:-1] else "the top level"
    return UNKNOWN_KEY.at(
        path, f"{shown} is not a key of {parent}.", f"Remove it, or take one of: {known}." if known else ""
    )


def _misspelt(path: Path, right: str, why: str, value: Any) -> Finding:
    place = (*(str(part) for part in path[:-1] if isinstance(part, str)), right)
    line = _line(place, value) if not any(isinstance(part, int) for part in path) else f'Write "{right}".'
    return MISSPELT_KEY.at(path, f"{show(path[-1])} is misspelt; the key is {right}.", f"{why} {line}".strip())


def _misplaced(path: Path, place: spec.Place, value: Any) -> Finding:
    right = ".".join(place).replace(".[]", "[]") if len(place) > 1 else f"the top level, as {place[0]}"
    if "[]" in place:
        advice = f"Only entries of {right.rpartition('[]')[0]} have it: move the whole entry there."
    else:
        advice = f"Move it to {right}. {_line(place, value)}"
    slip = "" if place[-1] == path[-1] else f" It is also misspelt: the name is {place[-1]}."
    return MISPLACED_KEY.at(path, f"{show(path[-1])} does nothing here; it belongs at {right}.{slip}", advice)


def _elsewhere(name: str, path: Path, value: Any) -> spec.Place | None:
    """The place of a key of this name, the likeliest where there are several."""
    names = [known for known in spec.places() if bare(known) == bare(name) and known not in _TOO_COMMON]
    found = [place for known in names for place in spec.places()[known] if "[]" not in place or _same_kind(path, place)]
    return min(found, key=lambda place: _unlikely(place, value), default=None)


def _same_kind(path: Path, place: spec.Place) -> bool:
    """Both are properties of the entries of lists of one name, such as the two lists of exclusions."""
    return len(path) >= 3 and isinstance(path[-2], int) and place[-2] == "[]" and path[-3] == place[-3]


def _near_elsewhere(name: str, path: Path) -> spec.Place | None:
    candidates = [known for known in spec.places() if len(known) >= 8]
    close = near(name, candidates) if len(name) >= 8 else None
    return _elsewhere(close, path, None) if close else None


def _unlikely(place: spec.Place, value: Any) -> tuple[bool, bool]:
    node = spec.at(tuple(0 if part == "[]" else part for part in place)) or {}
    fits = isinstance(
        value, {"object": dict, "array": list, "integer": int, "boolean": bool}.get(node.get("type", ""), str)
    )
    return (not fits or value not in node.get("enum", [value]), bool(node.get("deprecated")))


def _line(place: spec.Place, value: Any) -> str:
    """`Write {"edr": {"groupIds": ...}}`; a value is copied only where it cannot be a secret."""
    node = spec.at(place) or {}
    literal = (
        json.dumps(value) if isinstance(value, (bool, int)) and node.get("type") in ("boolean", "integer") else "..."
    )
    if isinstance(value, str) and value in node.get("enum", []):
        literal = json.dumps(value)
    if value is True and place[-1] == "enforcementLevel":
        literal = '"passive"'
    for name in reversed(place):
        literal = f'{{"{name}": {literal}}}'
    return f"Write {literal}"
