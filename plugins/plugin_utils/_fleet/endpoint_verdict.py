# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides what the role endpoint does next on a host, and whether the host fails. Private to the collection."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from .records import SEVERITIES
from .text import wrapped

Json = t.Mapping[str, t.Any]

# With one of these findings, the version does not prove that the host updates from the mirror; only an update does.
DOUBTS = frozenset(
    ("source_not_mirror", "source_unknown", "update_failed", "definitions_stale", "definitions_unavailable")
)
# A run repairs none of these, so they fail a host in check mode too.
MIRROR_FAULTS = frozenset(("mirror_unreachable", "mirror_answer_unusable", "mirror_package_missing"))
UPDATE_COMMAND = "mdatp definitions update"
NO_TIMER = ("passive", "on_demand", "audit")
TIMER_NOTE = (
    "NOTE The agent updates by its own timer only with the enforcement level real_time. With passive and on_demand it "
    "updates before each scan; for audit nothing is documented. To change the level, set endpoint_enforcement_level: "
    "real_time. Otherwise this role leaves the level as it is and updates the host at each run."
)
UNMET_NOTE = (
    "NOTE The host does not meet all requirements, but it updates. With endpoint_preflight: always, such errors fail "
    "the host."
)


def endpoint_verdict(
    result: Json, options: Json, changed: bool = False, requirements: Json | None = None, measure: bool = False
) -> dict[str, t.Any]:
    """What to do next on the host, and what to report about it.

    `result` is that of health_info or definitions_update, or that of a managed_config that failed; `options` are the
    variables of the role without their prefix; `changed` says whether the managed configuration was changed;
    `requirements` is the result of preflight_info, if it ran; `measure` requests it whatever the options say.
    """
    failing = ("error", "warning") if options["fail_on"] == "warning" else ("error",)
    findings = _findings(result)
    unmet = _unmet(requirements or {}, findings)
    doubts = not DOUBTS.isdisjoint(_ids(findings))
    behind = is_behind(result)
    own = _own_faults(result, findings, failing, options["update"] and (behind or _was_refused(result)))
    counted = unmet if own or options["preflight"] == "always" else []
    faults = own + [finding["id"] for finding in counted if finding["severity"] in failing]
    update = changed or (options["update"] and (behind or doubts or bool(own) or bool(result.get("lower"))))
    preflight = (
        measure or options["preflight"] == "always" or (options["preflight"] == "auto" and (changed or bool(own)))
    )
    return {
        "next": "update" if update else "preflight" if preflight else "verify",
        "preflight": preflight,
        "update_again": options["update"] and doubts and not is_ahead(result) and not _update_was_run(result),
        "faults": faults,
        "failed": bool(faults) and options["fail_on"] != "never",
        "failed_in_check_mode": not MIRROR_FAULTS.isdisjoint(faults) and options["fail_on"] != "never",
        "lines": _lines(result, findings, unmet, faults),
    }


def is_behind(result: Json) -> bool:
    """Whether the host has older definitions than the mirror publishes, or one of the two versions is unknown."""
    published = _version(_mapping(result.get("mirror")).get("definitions_version"))
    installed = _version(_fields(result).get("definitions_version"))
    return published is None or installed is None or installed < published


def is_ahead(result: Json) -> bool:
    """Whether the host has newer versions than the mirror publishes. Another update would take them away."""
    published, installed = _mapping(result.get("mirror")), _fields(result)
    for name in ("definitions_version", "engine_version"):
        mirror, host = _version(published.get(name)), _version(installed.get(name))
        if mirror is None or host is None or mirror != host:
            return mirror is not None and host is not None and host > mirror
    return False


def _version(value: t.Any) -> list[int] | None:
    text = value if isinstance(value, str) else ""
    return [int(part) for part in text.split(".")] if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})*", text) else None


def _own_faults(result: Json, findings: Sequence[Json], failing: Sequence[str], not_updated: bool) -> list[str]:
    """The ids that fail the host, whatever requirements it meets."""
    faults = [finding["id"] for finding in findings if finding["severity"] in failing]
    faults += ["update_failed"] if not_updated else []
    faults += [] if "findings" in result else ["no_answer"]
    return list(dict.fromkeys(faults))


def _unmet(requirements: Json, findings: Sequence[Json]) -> list[Json]:
    """The requirements that the host does not meet, without those that a finding names already."""
    known = _ids(findings)
    return [
        finding for finding in _findings(requirements) if finding["severity"] != "info" and finding["id"] not in known
    ]


def _was_refused(result: Json) -> bool:
    """Whether the module ran the update on a host with newer versions than its mirror, and the host kept them."""
    return _update_was_run(result) and is_ahead(result) and result.get("before") == result.get("after")


def _update_was_run(result: Json) -> bool:
    """Whether the module ran the update: it does not if the host has the wanted version already."""
    return any(_mapping(call).get("command") == UPDATE_COMMAND for call in result.get("raw") or [])


# --- The lines for a person -----------------------------------------------------------------------------------------


def _lines(result: Json, findings: Sequence[Json], unmet: Sequence[Json], faults: Sequence[str]) -> list[str]:
    lines = wrapped(str(result["msg"])) if result.get("msg") else []
    if result.get("failed"):
        lines += _unnamed(findings, str(result.get("msg")))
        findings = []
    fields = _fields(result)
    if fields:
        versions = [
            f"{name} {fields.get(key) or 'of unknown version'}"
            for name, key in (
                ("definitions", "definitions_version"),
                ("engine", "engine_version"),
                ("agent", "app_version"),
            )
        ]
        lines += [", ".join(versions), f"source {fields.get('definitions_update_source_uri') or 'unknown'}"]
    for finding in (*findings, *unmet):
        lines += wrapped(f"{finding['severity'].upper()} {finding['id']}: {finding['message']}")
        lines += wrapped(f"What to do: {finding['hint']}", "  ")
    if fields.get("antivirus_enforcement_level") in NO_TIMER or "passive_mode" in _ids(findings):
        lines += wrapped(TIMER_NOTE)
    if unmet and not faults:
        lines += wrapped(UNMET_NOTE)
    return lines


def _unnamed(findings: Sequence[Json], message: str) -> list[str]:
    """The ids of errors that the message of managed_config shows without their ids."""
    ids = dict.fromkeys(finding["id"] for finding in findings if finding["severity"] == "error")
    return [f"Finding: {name}" for name in ids if name not in message]


# --- Values ---------------------------------------------------------------------------------------------------------


def _mapping(value: t.Any) -> Json:
    return value if isinstance(value, Mapping) else {}


def _fields(result: Json) -> Json:
    return _mapping(_mapping(result.get("health")).get("fields"))


def _findings(result: Json) -> list[Json]:
    """The findings of a module, with the types that this file relies on."""
    return [
        {
            "id": finding["id"],
            "severity": finding["severity"] if finding.get("severity") in SEVERITIES else "error",
            "message": str(finding.get("message") or ""),
            "hint": str(finding.get("hint") or ""),
        }
        for finding in result.get("findings") or []
        if isinstance(finding, Mapping) and isinstance(finding.get("id"), str)
    ]


def _ids(findings: Iterable[Json]) -> set[str]:
    return {finding["id"] for finding in findings}
