# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sums up what many endpoints and mirrors said about their health. Private to the collection; controller only."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone

from . import records
from .records import SEVERITIES
from .text import WIDTH, wrapped

FORMAT = 1
VERDICTS = ("error", "warning", "ok")
MIRROR_MAX_AGE_HOURS = 24
# Microsoft publishes several times a day; after seven days its portal calls definitions out of date.
OLD_HOURS, STALE_HOURS = 72, 168
SHOWN_OK_HOSTS = 200
SHOWN_NAMES = 12
NO_ANSWERS = {"unreachable": "unreachable", "failed": "no-answer", "none": "not-asked"}

Json = t.Mapping[str, t.Any]


def summarise(
    endpoints: Mapping[str, t.Any],
    mirrors: Mapping[str, t.Any],
    generated: str,
    mirror_max_age_hours: float = MIRROR_MAX_AGE_HOURS,
) -> dict[str, t.Any]:
    """One structure from the results of `health_info` by endpoint and of `mirror_info` by mirror.

    `None` stands for a host that gave no result at all. No result raises, and none changes what is said of other hosts.
    """
    hosts = [_endpoint(name, records.endpoint(result)) for name, result in sorted(endpoints.items(), key=_natural)]
    served = [
        _mirror(name, records.mirror(result), generated, mirror_max_age_hours)
        for name, result in sorted(mirrors.items(), key=_natural)
    ]
    findings = _grouped([*served, *hosts])
    everything = [*hosts, *served]
    return {
        "format": FORMAT,
        "generated": generated,
        "verdict": _worst(finding["severity"] for finding in findings),
        "totals": {
            "endpoints": len(hosts),
            "mirrors": len(served),
            "unreachable": sum(1 for entry in everything if entry["answer"] == "unreachable"),
            **{f"endpoints_{verdict}": sum(1 for host in hosts if host["verdict"] == verdict) for verdict in VERDICTS},
            **{f"mirrors_{verdict}": sum(1 for host in served if host["verdict"] == verdict) for verdict in VERDICTS},
        },
        "hosts": hosts,
        "mirrors": served,
        "findings": findings,
    }


# --- One host -----------------------------------------------------------------------------------------------------


def _endpoint(name: str, record: records.Endpoint) -> dict[str, t.Any]:
    findings = _of(name, [*(record.findings if record.answered else _no_answer(record)), *_malformed(record)])
    return {
        "name": name,
        "answer": _answer(record),
        "verdict": _worst(finding["severity"] for finding in findings),
        "agent_version": record.agent_version,
        "definitions_version": record.definitions_version,
        "engine_version": record.engine_version,
        "definitions_age_minutes": record.definitions_age_minutes,
        "definitions_status": record.definitions_status,
        "source": record.source,
        "mirror": record.mirror,
        "findings": findings,
    }


def _mirror(name: str, record: records.Mirror, generated: str, max_age_hours: float) -> dict[str, t.Any]:
    found = _mirror_findings(record, generated, max_age_hours) if record.answered else _no_answer(record)
    findings = _of(name, [*found, *_malformed(record)])
    return {
        "name": name,
        "answer": _answer(record),
        "verdict": _worst(finding["severity"] for finding in findings),
        "root": record.root,
        "channels": [channel.fields for channel in record.channels],
        "last_success": record.last_success,
        "findings": findings,
    }


def _answer(record: records.Endpoint | records.Mirror) -> str:
    """How a host answered: yes, unreachable, failed (its module did), or none (the run had given it up before)."""
    if record.answered:
        return "yes"
    if record.failure.unreachable:
        return "unreachable"
    return "none" if record.failure.empty else "failed"


def _no_answer(record: records.Endpoint | records.Mirror) -> list[dict[str, str]]:
    said = record.failure.message
    answer = _answer(record)
    if answer == "unreachable":
        return [
            _finding(
                "host_unreachable",
                "error",
                f"Ansible could not reach it: {said or 'no reason was given'}",
                "Check that the host is up and that Ansible connects to it: ansible HOST -m ansible.builtin.ping.",
            )
        ]
    if answer == "none":
        return [
            _finding(
                "not_checked",
                "error",
                "This run gave the host up before its health was asked.",
                "See what failed on it further up in the output, mend that, then run mde.offline.health.",
            )
        ]
    if record.problems and not said:
        return []
    return [
        _finding(
            "check_failed",
            "error",
            f"Its health could not be asked: {said or 'no reason was given'}",
            "Mend what the message names, then run mde.offline.health again with --limit HOST -vvv.",
        )
    ]


def _malformed(record: records.Endpoint | records.Mirror) -> list[dict[str, str]]:
    if not record.problems:
        return []
    return [
        _finding(
            "result_malformed",
            "error",
            f"The host returned a result that the module does not return: {'; '.join(record.problems)}.",
            "Do not trust the other values of this host. Run the module on it with -vvv, and check that nobody "
            "replaced the agent's command mdatp, the mirror's files or the Python interpreter there.",
        )
    ]


def _mirror_findings(record: records.Mirror, generated: str, max_age_hours: float) -> list[dict[str, str]]:
    found = []
    for error in record.sync_errors:
        place = f" for {error.unit}" if error.unit else ""
        hint = error.hint or "Sync the mirror and see what it names."
        found.append(_finding("mirror_sync_failed", "error", f"The last sync failed{place}: {error.message}", hint))
    if not record.channels:
        found.append(
            _finding(
                "mirror_empty",
                "error",
                "The mirror serves nothing.",
                "Sync it (playbook mde.offline.sync) and mend what that names.",
            )
        )
    success = _hours_between(record.last_success, generated)
    if record.channels and (success is None or success > max_age_hours):
        since = "No sync ended without a failure yet"
        if success is not None:
            since = f"The last sync without a failure was {_age(success * 60)} ago"
        found.append(
            _finding(
                "mirror_not_synced",
                "error" if success is not None else "warning",
                f"{since} ({_hours(max_age_hours)} are allowed).",
                "Check the timer (systemctl status mde-mirror-sync.timer, journalctl -u mde-mirror-sync), or sync now "
                "with the playbook mde.offline.sync.",
            )
        )
    for channel in record.channels:
        if channel.definitions_version is None:
            found.append(
                _finding(
                    "release_gone",
                    "error",
                    f"The release that {channel.name} points at is gone.",
                    "Sync the mirror: it fetches what is missing.",
                )
            )
        hours = (channel.age_seconds or 0) / 3600
        if hours > OLD_HOURS:
            found.append(
                _finding(
                    "mirror_definitions_old",
                    "error" if hours > STALE_HOURS else "warning",
                    f"{channel.name} serves definitions that are {_age(hours * 60)} old.",
                    "See whether the syncs succeed and reach Microsoft, and whether the channel is held.",
                )
            )
        if channel.held:
            found.append(
                _finding(
                    "channel_held",
                    "warning",
                    f"{channel.name} is held and takes no new release: {channel.held_reason or 'no reason was given'}",
                    "Release the channel when the reason is gone.",
                )
            )
    return found


def _finding(name: str, severity: str, message: str, hint: str) -> dict[str, str]:
    return {"id": name, "severity": severity, "message": message, "hint": hint}


def _of(name: str, findings: Iterable[Json]) -> list[dict[str, t.Any]]:
    return [{**finding, "host": name} for finding in findings]


def _grouped(entries: Iterable[Json]) -> list[dict[str, t.Any]]:
    """Findings that say the same, with their hosts; the worst first, and of those the most frequent."""
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
            "hosts": list(dict.fromkeys(host for host, _message in said)),
            "messages": [{"host": host, "message": message} for host, message in said],
        }
        for (severity, name, hint), said in groups.items()
    ]
    return sorted(found, key=lambda group: (SEVERITIES.index(group["severity"]), -len(group["hosts"]), group["id"]))


# --- As lines -----------------------------------------------------------------------------------------------------


def lines(summary: Json, width: int = WIDTH) -> list[str]:
    """The summary for a person: a table of mirrors, one of endpoints, and every finding with what to do."""
    told: list[str] = []
    if summary["mirrors"]:
        head = ("MIRROR", "CHANNEL", "DEFINITIONS", "ENGINE", "AGE", "SYNCED", "VERDICT")
        told += _table(head, _mirror_rows(summary))
        told.append("")
    if summary["hosts"]:
        told += _table(("ENDPOINT", "AGENT", "DEFINITIONS", "AGE", "SOURCE", "VERDICT"), _endpoint_rows(summary))
        hidden = sum(1 for host in summary["hosts"] if host["verdict"] == "ok") - SHOWN_OK_HOSTS
        if hidden > 0:
            told.append(f"... and {hidden} more endpoints that are ok")
        told.append("")
    for group in summary["findings"]:
        told += _group_lines(group, width)
    if summary["findings"]:
        told.append("")
    return [*told, *_conclusion(summary)]


def _mirror_rows(summary: Json) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for mirror in summary["mirrors"]:
        age = _hours_between(mirror["last_success"], summary["generated"])
        synced = "never" if age is None else _age(age * 60)
        for position, channel in enumerate(mirror["channels"]):
            seconds = channel.get("age_seconds")
            rows.append(
                (
                    mirror["name"] if position == 0 else "",
                    _shortened(records.unit_name(channel)),
                    _shortened(channel.get("definitions_version") or "gone", 20),
                    _shortened(channel.get("engine_version") or "gone", 20),
                    "-" if seconds is None else _age(seconds / 60),
                    synced if position == 0 else "",
                    mirror["verdict"].upper() if position == 0 else "",
                )
            )
        if not mirror["channels"]:
            reason = NO_ANSWERS.get(mirror["answer"], "nothing")
            rows.append((mirror["name"], reason, "-", "-", "-", "-", mirror["verdict"].upper()))
    return rows


def _endpoint_rows(summary: Json) -> list[tuple[str, ...]]:
    """Those with something wrong first; of the others only so many that a screen can hold."""
    ranked = sorted(summary["hosts"], key=lambda host: VERDICTS.index(host["verdict"]))
    wrong = [host for host in ranked if host["verdict"] != "ok"]
    fine = [host for host in ranked if host["verdict"] == "ok"]
    shown = wrong + fine[:SHOWN_OK_HOSTS]
    if len(summary["hosts"]) <= SHOWN_OK_HOSTS:
        shown = summary["hosts"]
    return [_endpoint_row(host) for host in shown]


def _endpoint_row(host: Json) -> tuple[str, ...]:
    minutes = host["definitions_age_minutes"]
    return (
        host["name"],
        _shortened(host["agent_version"] or "-", 20),
        _shortened(host["definitions_version"] or "-", 20),
        _age(minutes) if isinstance(minutes, int) else "-",
        NO_ANSWERS.get(host["answer"]) or _shortened(host["source"] or "-"),
        host["verdict"].upper(),
    )


def _group_lines(group: Json, width: int) -> list[str]:
    names = group["hosts"]
    shown = ", ".join(names[:SHOWN_NAMES])
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    told = wrapped(f"{group['severity'].upper()} {group['id']} on {shown}{more}", "", width)
    said = dict.fromkeys(entry["message"] for entry in group["messages"])
    for message in list(said)[:SHOWN_NAMES]:
        whose = [entry["host"] for entry in group["messages"] if entry["message"] == message]
        prefix = f"{whose[0]}: " if len(said) > 1 and len(names) > 1 else ""
        told += wrapped(prefix + message, "  ", width)
    if len(said) > SHOWN_NAMES:
        told.append(f"  ... and {len(said) - SHOWN_NAMES} more messages of this kind")
    return [*told, *wrapped(f"What to do: {group['hint']}", "  ", width)]


def _conclusion(summary: Json) -> list[str]:
    totals = summary["totals"]
    told = []
    for kind in ("mirrors", "endpoints"):
        if totals[kind]:
            counts = [
                f"{totals[f'{kind}_{verdict}']} {word}"
                for verdict, word in (("ok", "ok"), ("warning", "with warnings"), ("error", "with errors"))
                if totals[f"{kind}_{verdict}"]
            ]
            told.append(f"{totals[kind]} {kind if totals[kind] > 1 else kind[:-1]}: {', '.join(counts)}")
    if totals["unreachable"]:
        told.append(f"{totals['unreachable']} of them unreachable")
    return [*(told or ["No host was asked."]), f"as of {summary['generated']}"]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return ["  ".join(cell.ljust(wide) for cell, wide in zip(row, widths)).rstrip() for row in (head, *rows)]


# --- Values -------------------------------------------------------------------------------------------------------


def _worst(severities: Iterable[str]) -> str:
    """The verdict that findings of these severities give; a mere `info` leaves it at ok."""
    present = set(severities)
    return next((verdict for verdict in VERDICTS if verdict in present), "ok")


def _natural(item: tuple[str, t.Any]) -> list[tuple[int, int, str]]:
    """Sorts web2 before web10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", item[0]) if part]


def _hours_between(earlier: t.Any, later: str) -> float | None:
    moments = (_moment(earlier), _moment(later))
    if moments[0] is None or moments[1] is None:
        return None
    return max(0.0, (moments[1] - moments[0]).total_seconds() / 3600)


def _moment(text: t.Any) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except (TypeError, ValueError):
        return None


def _age(minutes: float) -> str:
    if minutes < 120:
        return f"{int(minutes)}m"
    return f"{int(minutes // 60)}h" if minutes < 72 * 60 else f"{int(minutes // 1440)}d"


def _hours(hours: float) -> str:
    return f"{hours:g} hour{'s' if hours != 1 else ''}"


def _shortened(address: str, longest: int = 60) -> str:
    return address if len(address) <= longest else address[: longest - 3] + "..."
