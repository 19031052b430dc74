"""Rules about keys that the schema does not have: which key was meant, and where it belongs.

Private to the mde.offline collection; it may change without notice.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from . import json_schema
from .document import Findings, ManagedConfig
from .findings import ERROR, INFO, Finding, Path, dotted, rule, show
from .spelling import bare, near
from .structure import corrected

UNKNOWN_KEY = rule(
    "unknown_key",
    ERROR,
    "An undocumented key",
    "The agent does not know this key, so the key has no effect. Whether the agent then ignores the whole file is not "
    "documented.",
    "Remove it, or look up the right name on the reference page of all keys.",
)
MISSPELT_KEY = rule(
    "misspelt_key",
    ERROR,
    "A misspelt key",
    "The name differs from a known one by a few letters, by case or by underscores. The agent ignores it silently.",
    "Write the name exactly as in the hint, in upper and lower case.",
)
MISPLACED_KEY = rule(
    "misplaced_key",
    ERROR,
    "A key in the wrong section",
    "The key exists, but in another section. The agent silently ignores it in this place.",
    "Move it to the section that the hint names.",
)
NOT_LINUX_KEY = rule(
    "not_linux_key",
    ERROR,
    "A key of macOS, of Windows or of the command line",
    "The key exists on macOS or Windows, or as an option of the command line, but not in the managed file of Linux.",
    "Remove it from the file for Linux hosts.",
)
MEMORY_SCAN_UNRESOLVED = rule(
    "memory_scan_unresolved",
    INFO,
    "The definition of MemoryScan is unclear",
    "The documentation contradicts itself about the spelling, the section and the type of this preview key, so the key "
    "is not checked. It needs agent 101.26071.0005 (Insiders slow) or 101.26072.0005.",
    "Try it on one host and look at `mdatp health --details features` before you roll it out.",
)
EDITOR_KEY = rule(
    "editor_key",
    INFO,
    "The $schema key of editors",
    "$schema names the schema for an editor; it configures nothing. The agent does not know this key. How the agent "
    "treats unknown keys is not documented, but Microsoft publishes a sample with many of them.",
    "Leave it out of the file on hosts, to be safe. An editor can also find the schema by the name of the file.",
)

# Wrong names that are not typing errors, normalised by bare(): the key that is meant, and the reason.
_WRONG_NAMES = {
    "offlinedefintionupdatefallbacktocloud": (
        ("antivirusEngine", "offlineDefinitionUpdateFallbackToCloud"),
        "An i is missing (Defintion); the documentation had this error for years. The agent ignores the key.",
    ),
    "enablepassivemode": (
        ("antivirusEngine", "enforcementLevel"),
        'This name is not documented. Passive mode is "enforcementLevel": "passive", real-time protection is '
        '"real_time".',
    ),
    "automaticsamplesubmission": (
        ("cloudService", "automaticSampleSubmissionConsent"),
        'This is an old boolean of macOS. Linux has "automaticSampleSubmissionConsent": "none", "safe" or "all".',
    ),
}
# Names that people guess, or take from `mdatp health`, normalised by bare().
_MEANT = {
    ("antivirusEngine",): "antivirus av",
    ("cloudService",): "cloud cloudprotection",
    ("exclusionSettings",): "globalexclusions",
    ("antivirusEngine", "enforcementLevel"): "realtimeprotection realtimeprotectionenabled realtime rtp "
    "antivirusenforcementlevel passivemodeenabled onaccessscan",
    ("antivirusEngine", "offlineDefinitionUpdateUrl"): "offlineupdateurl definitionupdateurl updateurl mirrorurl "
    "mirror offlinedefinitionurl offlinedefinitionurlconfigured",
    ("antivirusEngine", "offlineDefinitionUpdate"): "offlineupdate offlineupdateenabled",
    ("antivirusEngine", "offlineDefinitionUpdateFallbackToCloud"): "fallbacktocloud offlinefallbacktocloud",
    ("cloudService", "enabled"): "cloudenabled clouddeliveredprotection",
    ("cloudService", "proxy"): "proxyserver proxyurl proxyaddress httpproxy httpsproxy",
    ("cloudService", "automaticSampleSubmissionConsent"): "samplesubmission cloudautomaticsamplesubmissionconsent",
    ("cloudService", "automaticDefinitionUpdateEnabled"): "automaticdefinitionupdate automaticupdates autoupdate",
    ("cloudService", "diagnosticLevel"): "clouddiagnosticenabled diagnostics",
    ("edr", "groupIds"): "edrgroupids",
    ("edr", "tags"): "edrtags edrdevicetags devicetags devicetag",
    ("scheduledScan", "weeklyConfiguration"): "weekly weeklyscan",
    ("scheduledScan", "dailyConfiguration"): "daily dailyscan quickscan",
}
_MADE_UP = {word: place for place, words in _MEANT.items() for word in words.split()}
# In entries of lists: (list, wrong name) -> the property that is meant.
_IN_ENTRIES = {
    ("tags", "name"): "key",
    ("tags", "tag"): "value",
    ("threatTypeSettings", "name"): "key",
    ("threatTypeSettings", "action"): "value",
    **{("exclusions", name): "path" for name in ("folder", "directory", "file", "excludedpath")},
    **{("exclusions", name): "name" for name in ("process", "processname", "excludedfilename")},
    **{("exclusions", name): "extension" for name in ("ext", "fileextension", "excludedfileextension")},
    **{("exclusions", name): "isDirectory" for name in ("isdir", "isfolder")},
}
_NOT_LINUX = {
    "userInterface": "It configures the user interface on macOS.",
    "tamperProtection": "Tamper protection on Linux has no key in the managed file.",
    "deviceControl": "Device control has no key for Linux.",
    "dlp": "Data loss prevention is set on macOS only.",
    "dataLossPrevention": "Data loss prevention is set on macOS only.",
    "definitionUpdateDue": "It is documented for macOS only.",
    "earlyPreview": "On Linux it is an option of the command line: mdatp edr early-preview.",
    "hideStatusMenuIcon": "It configures the user interface on macOS.",
    "consumerExperience": "It configures the user interface on macOS.",
    "userInitiatedFeedback": "It configures the user interface on macOS.",
    "disableInboundConnectionFiltering": "It is documented for macOS only.",
    "enableSetWarnToBlock": "It is documented for macOS only.",
    **{
        name: f"It is a setting of Windows. Linux has {place}."
        for name, place in {
            "DisableRealtimeMonitoring": "antivirusEngine.enforcementLevel",
            "DisableBehaviorMonitoring": "antivirusEngine.behaviorMonitoring",
            "PUAProtection": "antivirusEngine.threatTypeSettings",
            "MAPSReporting": "cloudService.enabled",
            "SubmitSamplesConsent": "cloudService.automaticSampleSubmissionConsent",
            "SignatureUpdateInterval": "cloudService.definitionUpdatesInterval",
            "CloudExtendedTimeout": "cloudService.cloudBlockLevel",
            "ScanScheduleDay": "scheduledScan.weeklyConfiguration.dayOfWeek",
            "ExclusionPath": "exclusionSettings.exclusions",
            "ExclusionProcess": "exclusionSettings.exclusions",
            "ExclusionExtension": "exclusionSettings.exclusions",
        }.items()
    },
}
# For a boolean key that does not exist: the value of the existing key.
_MEANING = {
    "enablepassivemode": "passive",
    "passivemodeenabled": "passive",
    "realtimeprotection": "real_time",
    "realtimeprotectionenabled": "real_time",
    "automaticsamplesubmission": "safe",
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
_TOO_COMMON = {"enabled", "$schema"}  # names that occur in many places


def check(managed: ManagedConfig) -> Findings:
    yield from _check(managed.data, json_schema.load(), ())


def _check(value: Any, node: json_schema.Node, path: Path) -> Findings:
    if isinstance(value, dict) and node.get("type") == "object":
        for name, below in value.items():
            known = json_schema.child(node, name)
            if known is None:
                yield _unknown((*path, name), value, node)
            elif "type" not in known:
                yield _memory_scan((*path, name))
            elif path == () and name == "$schema":
                yield EDITOR_KEY.at((name,), "The agent does not know this key; it is for editors.")
            else:
                yield from _check(below, known, (*path, name))
    elif isinstance(value, list) and node.get("type") == "array":
        for index, item in enumerate(value):
            yield from _check(item, json_schema.resolve(node["items"]), (*path, index))


def _memory_scan(path: Path) -> Finding:
    return MEMORY_SCAN_UNRESOLVED.at(
        path, "The documentation of this preview key contradicts itself, so the key is not checked."
    )


def _unknown(path: Path, parent: dict[str, Any], node: json_schema.Node) -> Finding:
    name, siblings = str(path[-1]), node.get("properties", {})
    value, shown = parent[name], show(name)
    if bare(name) == "memoryscan":
        return _memory_scan(path)
    if bare(name) in _WRONG_NAMES:
        right, why = _WRONG_NAMES[bare(name)]
        return MISSPELT_KEY.at(path, f"{shown} is not a key of the managed file.", f"{why} {_line(right, value, name)}")
    for candidate in siblings:
        if bare(candidate) == bare(name):
            return _misspelt(path, candidate, "Upper and lower case and underscores matter.", value)
    if "." in name and json_schema.at(tuple(name.split("."))) is not None:
        return MISPLACED_KEY.at(path, "Dots in a name do not separate sections.", _line(tuple(name.split(".")), value))
    other = _other_file(path, value, siblings) if len(path) == 1 else None
    if other is not None:
        return other
    meant = _IN_ENTRIES.get((str(path[-3]), bare(name))) if len(path) > 2 else None
    if meant is not None and meant in siblings and meant not in parent:
        return _misspelt(path, meant, "", value)
    place = _elsewhere(name, path, value)
    if place is not None and place[-1] == name:
        return _misplaced(path, place, value)
    if bare(name) in _MADE_UP:
        advice = _line(_MADE_UP[bare(name)], value, name)
        return MISSPELT_KEY.at(path, f"{shown} is not a key of the managed file.", advice)
    if name in _NOT_LINUX:
        return NOT_LINUX_KEY.at(
            path, f"{shown} is not a key of the managed file on Linux.", f"Remove it. {_NOT_LINUX[name]}"
        )
    if re.fullmatch(r"disable\w+Parsing", name):
        advice = 'Remove it. Linux has "networkProtection": {"disableIcmpInspection": true} only.'
        return NOT_LINUX_KEY.at(path, f"{shown} is a key of macOS.", advice)
    if place is not None:
        return _misplaced(path, place, value)
    close = near(name, siblings) or _longer(name, siblings)
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
    section = dotted(path[:-1]) if path[:-1] else "the top level"
    return UNKNOWN_KEY.at(
        path, f"{shown} is not a key of {section}.", f"Remove it, or use one of: {known}." if known else ""
    )


def _other_file(path: Path, value: Any, sections: json_schema.Node) -> Finding | None:
    """The finding if this is another file, or the managed file nested one level too deep."""
    if path == ("onboardingInfo",):
        advice = "Put it where it belongs, /etc/opt/microsoft/mdatp/mdatp_onboard.json, and keep it secret."
        return UNKNOWN_KEY.at(path, "This is the onboarding file, not the managed configuration.", advice)
    if isinstance(value, dict) and any(section in sections for section in value):
        name = show(path[-1])
        advice = f"Remove the level {name}: its content belongs at the top level."
        return UNKNOWN_KEY.at(path, f"{name} is not a key, so the agent does not find the sections in it.", advice)
    return None


def _longer(name: str, candidates: Iterable[str]) -> str | None:
    """The longest candidate with which the name begins, or the only candidate that begins with the name."""
    word = bare(name)
    found = [known for known in candidates if len(bare(known)) >= 10 and word.startswith(bare(known))]
    cut = [known for known in candidates if len(word) >= 10 and bare(known).startswith(word)]
    return max(found, key=len, default=cut[0] if len(cut) == 1 else None)


def _misspelt(path: Path, right: str, why: str, value: Any) -> Finding:
    place = (*(str(part) for part in path[:-1] if isinstance(part, str)), right)
    line = _line(place, value) if not any(isinstance(part, int) for part in path) else f'Write "{right}".'
    return MISSPELT_KEY.at(path, f"{show(path[-1])} is misspelt; the key is {right}.", f"{why} {line}".strip())


def _misplaced(path: Path, place: json_schema.Place, value: Any) -> Finding:
    right = ".".join(place).replace(".[]", "[]") if len(place) > 1 else f"the top level, as {place[0]}"
    if "[]" in place:
        advice = f"Only entries of {right.rpartition('[]')[0]} have this key: move the whole entry there."
    else:
        advice = f"Move it to {right}. {_line(place, value)}"
        if place == ("exclusionSettings", "exclusions"):
            advice += ', and give each entry "scopes": ["epp"]: without scopes an exclusion is global there'
    slip = "" if place[-1] == path[-1] else f" It is also misspelt: the name is {place[-1]}."
    return MISPLACED_KEY.at(path, f"{show(path[-1])} has no effect here; it belongs at {right}.{slip}", advice)


def _elsewhere(name: str, path: Path, value: Any) -> json_schema.Place | None:
    """The place of a key of this name, or the likeliest of several places."""
    names = [known for known in json_schema.places() if bare(known) == bare(name) and known not in _TOO_COMMON]
    places = [place for known in names for place in json_schema.places()[known]]
    found = [place for place in places if "[]" not in place or _same_kind(path, place)]
    return min(found, key=lambda place: _unlikely(place, value), default=None)


def _same_kind(path: Path, place: json_schema.Place) -> bool:
    """Whether both are properties of entries of lists with the same name, such as the two lists of exclusions."""
    return len(path) >= 3 and isinstance(path[-2], int) and place[-2] == "[]" and path[-3] == place[-3]


def _near_elsewhere(name: str, path: Path) -> json_schema.Place | None:
    candidates = [known for known in json_schema.places() if len(known) >= 8]
    close = (near(name, candidates) or _longer(name, candidates)) if len(name) >= 8 else None
    return _elsewhere(close, path, None) if close else None


def _unlikely(place: json_schema.Place, value: Any) -> tuple[bool, bool]:
    node = json_schema.at(tuple(0 if part == "[]" else part for part in place)) or {}
    fits = isinstance(
        value, {"object": dict, "array": list, "integer": int, "boolean": bool}.get(node.get("type", ""), str)
    )
    return (not fits or value not in node.get("enum", [value]), bool(node.get("deprecated")))


def _line(place: json_schema.Place, value: Any, name: str = "") -> str:
    """`Write {"edr": {"groupIds": ...}}`; the value is copied only if it cannot be a secret."""
    node = json_schema.at(place) or {}
    literal = "..."
    if place == ("cloudService", "proxy"):
        literal = '"http://host:port/"'
    elif value is True and bare(name) in _MEANING:
        literal = json.dumps(_MEANING[bare(name)])
    elif "enum" in node or node.get("type") in ("boolean", "integer"):
        meant = value if isinstance(value, bool) and node["type"] == "boolean" else corrected(value, node)
        literal = "..." if meant is None else json.dumps(meant)
    for part in reversed(place):
        literal = f'{{"{part}": {literal}}}'
    return f"Write {literal}"
