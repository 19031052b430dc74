# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes a summary as lines of text: tables of mirrors and endpoints, then the findings. Private to the collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .records import unit_name
from .summary import VERDICTS
from .text import WIDTH, wrapped
from .times import age, hours_between

SHOWN_OK_HOSTS = 200
SHOWN_NAMES = 12
_LONGEST_CELL, _LONGEST_VERSION = 60, 20
NO_ANSWERS = {"unreachable": "unreachable", "failed": "no-answer", "none": "not-asked"}

Json = Mapping[str, Any]


def lines(summary: Json, width: int = WIDTH) -> list[str]:
    """A table of the mirrors, a table of the endpoints, and every finding with what to do."""
    text: list[str] = []
    if summary["mirrors"]:
        head = ("MIRROR", "CHANNEL", "DEFINITIONS", "ENGINE", "AGE", "SYNCED", "VERDICT")
        text += _table(head, _mirror_rows(summary))
        text.append("")
    if summary["hosts"]:
        text += _table(("ENDPOINT", "AGENT", "DEFINITIONS", "AGE", "SOURCE", "VERDICT"), _endpoint_rows(summary))
        hidden = sum(1 for host in summary["hosts"] if host["verdict"] == "ok") - SHOWN_OK_HOSTS
        if hidden > 0:
            text.append(f"... and {hidden} more endpoints that are ok")
        text.append("")
    for group in summary["findings"]:
        text += _group_lines(group, width)
    if summary["findings"]:
        text.append("")
    return [*text, *_conclusion(summary)]


def _mirror_rows(summary: Json) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for mirror in summary["mirrors"]:
        hours = hours_between(mirror["last_success"], summary["generated"])
        synced = "never" if hours is None else age(hours * 60)
        for position, channel in enumerate(mirror["channels"]):
            seconds = channel.get("age_seconds")
            rows.append(
                (
                    mirror["name"] if position == 0 else "",
                    _shortened(unit_name(channel), _LONGEST_CELL),
                    _shortened(channel.get("definitions_version") or "gone", _LONGEST_VERSION),
                    _shortened(channel.get("engine_version") or "gone", _LONGEST_VERSION),
                    "-" if seconds is None else age(seconds / 60),
                    synced if position == 0 else "",
                    mirror["verdict"].upper() if position == 0 else "",
                )
            )
        if not mirror["channels"]:
            reason = NO_ANSWERS.get(mirror["answer"], "nothing")
            rows.append((mirror["name"], reason, "-", "-", "-", "-", mirror["verdict"].upper()))
    return rows


def _endpoint_rows(summary: Json) -> list[tuple[str, ...]]:
    """All endpoints with a fault first, then as many of the others as fit on a screen."""
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
        _shortened(host["agent_version"] or "-", _LONGEST_VERSION),
        _shortened(host["definitions_version"] or "-", _LONGEST_VERSION),
        age(minutes) if isinstance(minutes, int) else "-",
        NO_ANSWERS.get(host["answer"]) or _shortened(host["source"] or "-", _LONGEST_CELL),
        host["verdict"].upper(),
    )


def _group_lines(group: Json, width: int) -> list[str]:
    names = group["hosts"]
    shown = ", ".join(names[:SHOWN_NAMES])
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    text = wrapped(f"{group['severity'].upper()} {group['id']} on {shown}{more}", "", width)
    messages = dict.fromkeys(entry["message"] for entry in group["messages"])
    for message in list(messages)[:SHOWN_NAMES]:
        hosts = [entry["host"] for entry in group["messages"] if entry["message"] == message]
        prefix = f"{hosts[0]}: " if len(messages) > 1 and len(names) > 1 else ""
        text += wrapped(prefix + message, "  ", width)
    if len(messages) > SHOWN_NAMES:
        text.append(f"  ... and {len(messages) - SHOWN_NAMES} more messages of this kind")
    return [*text, *wrapped(f"What to do: {group['hint']}", "  ", width)]


def _conclusion(summary: Json) -> list[str]:
    totals = summary["totals"]
    text = []
    for kind in ("mirrors", "endpoints"):
        if totals[kind]:
            counts = [
                f"{totals[f'{kind}_{verdict}']} {word}"
                for verdict, word in (("ok", "ok"), ("warning", "with warnings"), ("error", "with errors"))
                if totals[f"{kind}_{verdict}"]
            ]
            text.append(f"{totals[kind]} {kind if totals[kind] > 1 else kind[:-1]}: {', '.join(counts)}")
    if totals["unreachable"]:
        text.append(f"{totals['unreachable']} of them unreachable")
    return [*(text or ["No host was asked."]), f"as of {summary['generated']}"]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return ["  ".join(cell.ljust(wide) for cell, wide in zip(row, widths)).rstrip() for row in (head, *rows)]


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 3] + "..."
