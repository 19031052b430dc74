"""Translates the errors of the JSON Schema into findings with advice.

Private to the mde.offline collection; it may change without notice.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from . import json_schema
from .document import Findings, ManagedConfig
from .findings import ERROR, WARNING, Finding, Path, kind_of, rule, show, write
from .spelling import near_value

WRONG_TYPE = rule(
    "wrong_type",
    ERROR,
    "A value of the wrong type",
    'The agent expects another JSON type, such as true instead of "true". It may ignore the value or the whole file.',
    "Write the value with the type from the reference page.",
)
NUMBER_AS_STRING = rule(
    "number_as_string",
    WARNING,
    "A number written as a string",
    "The documentation calls this key a string and shows it as a number. The number is safe; an agent may not read the "
    "string.",
    "Remove the quotes.",
)
INVALID_VALUE = rule(
    "invalid_value",
    ERROR,
    "A value that is not allowed",
    "The key takes one of a fixed set of words, spelled exactly. A wrong word can make the agent ignore the whole "
    "file.",
    "Write one of the allowed values.",
)
INVALID_EXCLUSION_TYPE = rule(
    "invalid_exclusion_type",
    ERROR,
    "An exclusion of a type that does not exist",
    "`$type` is excludedPath, excludedFileExtension or excludedFileName. The words of the command line (folder, file, "
    "process) are invalid here; agents were seen to ignore the whole file silently because of them.",
    "Write excludedPath for files and folders, excludedFileExtension for extensions, excludedFileName for processes.",
)
OUT_OF_RANGE = rule(
    "out_of_range",
    ERROR,
    "A number out of its range",
    "The agent accepts numbers of a certain range here.",
    "Write a number in this range.",
)
MISSING_PROPERTY = rule(
    "missing_property",
    ERROR,
    "A property is missing or empty",
    "An entry of this kind has no effect without it.",
    "Add the property, or remove the entry.",
)
FOREIGN_PROPERTY = rule(
    "foreign_property",
    ERROR,
    "A property of another type of exclusion",
    "excludedPath takes path and isDirectory, excludedFileExtension takes extension, excludedFileName takes name. "
    "Agents were seen to silently ignore an exclusion with another property.",
    "Give the property that belongs to the type, or change the type.",
)
SCOPES_EMPTY = rule(
    "scopes_empty",
    ERROR,
    "An exclusion with an empty list of scopes",
    "An exclusion needs at least one scope.",
    'Write "scopes": ["epp"] (antivirus only), or ["epp", "global"] (EDR too).',
)
FILESYSTEM_NAME_LIST = rule(
    "filesystem_name_list",
    ERROR,
    "Several file systems in one string",
    'Every element is the name of one file system type. A combined element such as "nfs,fuse" (from the documentation) '
    "matches nothing, and the list still replaces the agent's default.",
    'Write one name per element: ["nfs", "fuse"].',
)

_DOCUMENTED_AS_STRING = {"scanResultsRetentionDays", "scanHistoryMaximumItems"}
_TYPES = {
    "object": "an object",
    "array": "an array",
    "string": "a string",
    "integer": "an integer",
    "boolean": "true or false",
}
# Examples of values, for types that do not explain themselves.
_SHAPES = {
    "exclusions": '[{"$type": "excludedPath", "path": "/...", "isDirectory": true}, ...]',
    "threatTypeSettings": '[{"key": "potentially_unwanted_application", "value": "block"}, ...]',
    "tags": '[{"key": "GROUP", "value": "..."}, ...]',
    "proxy": '"http://host:port/"',
    "offlineDefinitionUpdateUrl": '"http://host:port/linux/production/"',
}
_DAYS = ("never", "sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_FOR_TYPE = {
    "path": "excludedPath",
    "isDirectory": "excludedPath",
    "extension": "excludedFileExtension",
    "name": "excludedFileName",
}
_OWNER_KEY = {"excludedPath": "path", "excludedFileExtension": "extension", "excludedFileName": "name"}


def check(managed: ManagedConfig) -> Findings:
    for error in json_schema.validator().iter_errors(managed.data):
        path: Path = tuple(error.absolute_path)
        if error.validator == "not":  # the property belongs to another type of exclusion
            yield _foreign(managed, path)
        elif error.validator != "additionalProperties":  # keys.py reports unknown keys, with their right place
            yield TRANSLATIONS[error.validator](path, error.instance, error.schema)


def _type(path: Path, value: Any, node: json_schema.Node) -> Finding:
    key = path[-1] if path else ""
    if key in _DOCUMENTED_AS_STRING and isinstance(value, str) and re.fullmatch("[0-9]+", value, flags=re.ASCII):
        if corrected(value, node) is None:
            return _range(path, value, node)
        return NUMBER_AS_STRING.at(path, f"The number is in quotes: {show(value)}.", write(key, int(value)))
    wanted = _TYPES[node["type"]]
    seen = kind_of(value) if key in ("proxy", "offlineDefinitionUpdateUrl") else show(value)
    if isinstance(value, (str, int, float)) and not isinstance(value, bool) and seen != kind_of(value):
        seen = f"{kind_of(value)}, {seen}"
    return WRONG_TYPE.at(path, f"This must be {wanted}, but it is {seen}.", type_advice(path, value, node))


def type_advice(path: Path, value: Any, node: json_schema.Node) -> str:
    """The corrected value; empty if it cannot be known."""
    key = next((part for part in reversed(path) if isinstance(part, str)), "")
    if value is None:
        return "Remove the key: only a missing key leaves the agent's default in place."
    if key == "scheduledScan":
        if node["type"] == "string":
            return 'Write "scheduledScan": "enabled" here; the times belong in "scheduledScan" at the top level.'
        return (
            "This object contains the times. The switch is another key: "
            '{"antivirusEngine": {"scheduledScan": "enabled"}}.'
        )
    literal = corrected(value, node)
    if literal is None:
        literal = _on_the_clock(key, value)
    if literal is not None:
        return write(key, literal) if isinstance(path[-1], str) else f"Write {show(literal)}"
    if isinstance(value, str) and node["type"] in ("object", "array") and re.match(r"\s*[{\[]", value):
        return "This is JSON inside a string: remove the quotes around it and the backslashes in it."
    if isinstance(value, list) and node["type"] not in ("object", "array"):
        return f"Write {_TYPES[node['type']]}, without the brackets."
    if "enum" in node:
        return f"Write one of: {', '.join(node['enum'])}."
    shape = _SHAPES.get(key, "{ ... }" if node["type"] == "object" else "")
    if path[0] == "exclusionSettings":  # the old place has no scopes
        shape = shape.replace("true}", 'true, "scopes": ["epp"]}')
    entry = re.fullmatch(r"\[(.*), \.\.\.\]", shape)
    if isinstance(path[-1], int) and entry:
        return f"Write {entry.group(1)}"
    return f'Write "{key}": {shape}' if shape else ""


def _on_the_clock(key: str, value: Any) -> int | None:
    """The minutes of 02:30, the number of Sunday; None for any other value."""
    word = value.strip().lower() if isinstance(value, str) else ""
    clock = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", word)
    if key == "timeOfDay" and clock:
        return int(clock.group(1)) * 60 + int(clock.group(2))
    if key == "dayOfWeek" and len(word) >= 3:
        return next((number for number, day in enumerate(_DAYS) if day.startswith(word)), None)
    return None


def corrected(value: Any, node: json_schema.Node) -> Any:
    wanted, choices = node["type"], node.get("enum", [])
    word = str(value).strip() if isinstance(value, (str, bool, int)) else ""
    if wanted == "boolean":
        return {"enabled": True, "disabled": False}.get(near_value(word, ("enabled", "disabled")) or "")
    if wanted == "integer":
        number = int(word) if re.fullmatch("[0-9]{1,9}", word, flags=re.ASCII) else None
        return number if number is None or node.get("minimum", 0) <= number <= node.get("maximum", number) else None
    if wanted == "string" and choices:
        return near_value(word, choices)
    if wanted == "array":
        return _as_array(value, json_schema.resolve(node["items"]))
    return None


def _as_array(value: Any, items: json_schema.Node) -> Any:
    if isinstance(value, str) and items["type"] == "string":
        if not items.get("enum"):
            return [part for part in re.split(r"[\s,]+", value) if part] if items.get("pattern") else None
        found = near_value(value, items["enum"])
        return [found] if found else None
    if isinstance(value, dict) and {"key", "value"} == set(items.get("properties", {})):
        keys, values = (json_schema.resolve(items["properties"][name]).get("enum", []) for name in ("key", "value"))
        if all(name in keys and choice in values for name, choice in value.items() if isinstance(choice, str)):
            return [{"key": name, "value": choice} for name, choice in sorted(value.items()) if isinstance(choice, str)]
    return None


def _enum(path: Path, value: Any, node: json_schema.Node) -> Finding:
    key = next((part for part in reversed(path) if isinstance(part, str)), "")
    if not isinstance(value, str):  # the schema reports both errors; wrong_type is enough
        return _type(path, value, node)
    allowed = ", ".join(node["enum"])
    found = near_value(value, node["enum"])
    advice = (
        (write(key, found) if path and isinstance(path[-1], str) else f'Write "{found}"')
        if found
        else f"Write one of: {allowed}."
    )
    if key == "key" and node["enum"] == ["GROUP"] and not found:
        advice = "The managed file accepts only the key GROUP; other tags are set with `mdatp edr tag set`."
    chosen = INVALID_EXCLUSION_TYPE if key == "$type" else INVALID_VALUE
    return chosen.at(path, f"{show(value)} is not one of the allowed values: {allowed}.", advice)


def _range(path: Path, value: Any, node: json_schema.Node) -> Finding:
    bounds = f"from {node['minimum']} to {node['maximum']}" if "maximum" in node else f"{node['minimum']} or more"
    default = f" The default is {node['default']}." if "default" in node else ""
    return OUT_OF_RANGE.at(path, f"{show(value)} is out of range.", f"Write a number {bounds}.{default}")


def _required(path: Path, value: Any, node: json_schema.Node) -> Finding:
    missing = [name for name in node["required"] if name not in value]
    if missing == ["$type"]:
        found = next((_FOR_TYPE[name] for name in ("path", "extension", "name") if name in value), "excludedPath")
        return MISSING_PROPERTY.at(path, "This exclusion has no $type.", f'Add "$type": "{found}".')
    names = " and ".join(f'"{name}"' for name in missing)
    what = f"an exclusion of the type {value['$type']}" if "$type" in value else "this entry"
    return MISSING_PROPERTY.at(path, f"Without {names} {what} has no effect.", f"Add {names}, or remove the entry.")


def _foreign(managed: ManagedConfig, path: Path) -> Finding:
    entry: Any = managed.data
    for part in path[:-1]:
        entry = entry[part]
    kind, key = entry["$type"], str(path[-1])
    advice = f'Either "$type": "{_FOR_TYPE[key]}", or "{_OWNER_KEY[kind]}" instead of "{key}".'
    return FOREIGN_PROPERTY.at(
        path, f"An exclusion of the type {kind} has no {key}; it has {_OWNER_KEY[kind]}.", advice
    )


def _empty(path: Path, value: Any, node: json_schema.Node) -> Finding:
    return MISSING_PROPERTY.at(path, "This is empty.")


def _pattern(path: Path, value: Any, node: json_schema.Node) -> Finding:
    names = [part for part in re.split(r"[\s,]+", value.lower()) if part]
    advice = f"Write {', '.join(show(name) for name in names[:6])} as separate elements." if names else ""
    return FILESYSTEM_NAME_LIST.at(path, f"{show(value)} is not the name of one file system type.", advice)


def _scopes(path: Path, value: Any, node: json_schema.Node) -> Finding:
    return SCOPES_EMPTY.at(path, "The list of scopes is empty.")


# Every keyword of the schema that can fail; a test compares this with the schema.
TRANSLATIONS: dict[str, Callable[[Path, Any, json_schema.Node], Finding]] = {
    "type": _type,
    "enum": _enum,
    "minimum": _range,
    "maximum": _range,
    "required": _required,
    "minLength": _empty,
    "minItems": _scopes,
    "pattern": _pattern,
}
