# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Summarises the results of many endpoints and mirrors as one structure. Private to the collection; controller only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from . import checks, records
from .records import SEVERITIES

FORMAT = 1
VERDICTS = ("error", "warning", "ok")
MIRROR_MAX_AGE_HOURS = 24


def summarise(
    endpoints: Mapping[str, Any],
    mirrors: Mapping[str, Any],
    generated: str,
    mirror_max_age_hours: float = MIRROR_MAX_AGE_HOURS,
) -> dict[str, Any]:
    """The summary of the results of `health_info` by endpoint and of `mirror_info` by mirror.

    `None` is the result of a host on which the module never ran. No result raises, and no result changes what the
    summary says about other hosts.
    """
    hosts = [_endpoint(name, records.endpoint(result)) for name, result in sorted(endpoints.items(), key=_natural)]
    served = [
        _mirror(name, records.mirror(result), generated, mirror_max_age_hours)
        for name, result in sorted(mirrors.items(), key=_natural)
    ]
    findings = _grouped([*served, *hosts])
    return {
        "format": FORMAT,
        "generated": generated,
        "verdict": _worst(finding["severity"] for finding in findings),
        "totals": _totals(hosts, served),
        "hosts": hosts,
        "mirrors": served,
        "findings": findings,
    }


def _totals(hosts: list[dict[str, Any]], served: list[dict[str, Any]]) -> dict[str, int]:
    return {
        "endpoints": len(hosts),
        "mirrors": len(served),
        "unreachable": sum(1 for entry in [*hosts, *served] if entry["answer"] == "unreachable"),
        **{f"endpoints_{verdict}": sum(1 for host in hosts if host["verdict"] == verdict) for verdict in VERDICTS},
        **{f"mirrors_{verdict}": sum(1 for host in served if host["verdict"] == verdict) for verdict in VERDICTS},
    }


def _endpoint(name: str, record: records.Endpoint) -> dict[str, Any]:
    found = record.findings if record.answered else checks.no_result(record)
    return {
        **_entry(name, record, found),
        "agent_version": record.agent_version,
        "definitions_version": record.definitions_version,
        "engine_version": record.engine_version,
        "definitions_age_minutes": record.definitions_age_minutes,
        "definitions_status": record.definitions_status,
        "source": record.source,
        "mirror": record.mirror,
    }


def _mirror(name: str, record: records.Mirror, generated: str, max_age_hours: float) -> dict[str, Any]:
    found = checks.mirror(record, generated, max_age_hours) if record.answered else checks.no_result(record)
    return {
        **_entry(name, record, found),
        "root": record.root,
        "channels": [channel.fields for channel in record.channels],
        "last_success": record.last_success,
    }


def _entry(name: str, record: records.Endpoint | records.Mirror, found: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    findings = [{**finding, "host": name} for finding in [*found, *checks.malformed(record)]]
    return {
        "name": name,
        "answer": checks.answer(record),
        "verdict": _worst(finding["severity"] for finding in findings),
        "findings": findings,
    }


def _grouped(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Findings with the same hint as one entry with all hosts; the worst and most frequent first."""
    groups: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    for entry in entries:
        for finding in entry["findings"]:
            key = (finding["severity"], finding["id"], finding["hint"])
            groups.setdefault(key, []).append((entry["name"], finding["message"]))
    found = [
        {
            "id": name,
            "severity": severity,
            "hint": hint,
            "hosts": list(dict.fromkeys(host for host, _message in messages)),
            "messages": [{"host": host, "message": message} for host, message in messages],
        }
        for (severity, name, hint), messages in groups.items()
    ]
    return sorted(found, key=lambda group: (SEVERITIES.index(group["severity"]), -len(group["hosts"]), group["id"]))


def _worst(severities: Iterable[str]) -> str:
    """The verdict for findings of these severities; `info` alone is ok."""
    present = set(severities)
    return next((verdict for verdict in VERDICTS if verdict in present), "ok")


def _natural(item: tuple[str, Any]) -> list[tuple[int, int, str]]:
    """The sort key that puts web2 before web10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", item[0]) if part]
