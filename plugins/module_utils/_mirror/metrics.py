"""The status of a mirror in Prometheus' text format, for the textfile collector of node_exporter."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
from typing import Any, Iterator

_OUTCOMES = ("updated", "unchanged", "repaired", "adopted", "held", "failed")


def render(status: dict[str, Any]) -> str:
    """All samples as one text, with times (Unix seconds) instead of ages, which change: use `time() - x`."""
    lines: list[str] = []
    for name, text, samples in _families(status):
        rows = list(samples)
        if rows:
            lines += [f"# HELP mde_mirror_{name} {text}", f"# TYPE mde_mirror_{name} gauge"]
            lines += [f"mde_mirror_{name}{_labels(labels)} {value}" for labels, value in rows]
    return "\n".join(lines) + "\n"


def _families(status: dict[str, Any]) -> Iterator[tuple[str, str, Iterator[tuple[dict[str, str], float]]]]:
    last = status["last_sync"] or {}
    channels = status["channels"]
    units = last.get("units", [])
    yield (
        "last_success_timestamp_seconds",
        "End of the last sync without any failure.",
        _one(status["last_success"]),
    )
    yield (
        "current_timestamp_seconds",
        "When the mirror was last known to be current.",
        _one(status.get("current_as_of")),
    )
    yield "last_sync_timestamp_seconds", "End of the last sync.", _one(last.get("finished"))
    yield "last_import_timestamp_seconds", "End of the last import of a bundle.", _one(status["last_import"])
    yield (
        "origin",
        "How the origin of what was taken last was proven: signed, tls or unsigned.",
        iter([({"origin": status["origin"]}, 1)] if status.get("origin") else []),
    )
    yield (
        "last_sync_failed",
        "1 if the last sync failed in part or whole.",
        iter([({}, float(last["result"] != "ok"))] if last else []),
    )
    yield (
        "channel_info",
        "What a channel serves.",
        (
            (
                {
                    **_unit(channel),
                    "definitions_version": channel["definitions_version"] or "",
                    "engine_version": channel["engine_version"] or "",
                },
                1,
            )
            for channel in channels
        ),
    )
    yield (
        "channel_definitions_timestamp_seconds",
        "Date of the definitions that a channel serves.",
        _moments(channels, "definitions_date", "stored"),
    )
    yield (
        "channel_max_definitions_age_seconds",
        "Allowed age of the definitions that a channel serves; 0 means no limit.",
        (
            (_unit(channel), channel["max_definitions_age_hours"] * 3600)
            for channel in channels
            if "max_definitions_age_hours" in channel
        ),
    )
    yield (
        "channel_published_timestamp_seconds",
        "When a channel began to serve its release.",
        _moments(channels, "published"),
    )
    yield (
        "channel_behind",
        "1 if the source offers something newer than the channel serves, according to the last sync.",
        (
            (_unit(channel), float(bool(channel["behind_since"])))
            for channel in channels
            if channel["behind_seconds"] is not None
        ),
    )
    yield (
        "channel_behind_since_timestamp_seconds",
        "Since when the source has offered something newer than the channel serves.",
        _moments(channels, "behind_since"),
    )
    yield (
        "channel_held",
        "1 if an operator holds the channel.",
        ((_unit(channel), float(bool(channel["held"]))) for channel in channels),
    )
    yield (
        "channel_bytes",
        "Size of the package that a channel serves.",
        ((_unit(channel), channel["bytes"]) for channel in channels if channel["bytes"] is not None),
    )
    yield "last_sync_bytes", "Bytes that the last sync fetched for a unit.", ((_unit(u), u["bytes"]) for u in units)
    yield "last_sync_seconds", "Seconds that the last sync spent on a unit.", ((_unit(u), u["seconds"]) for u in units)
    yield (
        "last_sync_units",
        "Units of the last sync by outcome.",
        (({"outcome": outcome}, sum(unit["outcome"] == outcome for unit in units)) for outcome in _OUTCOMES if last),
    )


def _unit(entry: dict[str, Any]) -> dict[str, str]:
    return {key: entry[key] for key in ("platform", "channel", "arch")}


def _moments(channels: list[dict[str, Any]], *keys: str) -> Iterator[tuple[dict[str, str], float]]:
    """The time of each channel, from the first of the keys that has a value."""
    for channel in channels:
        moment = _seconds(next((channel[key] for key in keys if channel[key]), None))
        if moment is not None:
            yield _unit(channel), moment


def _one(iso: str | None) -> Iterator[tuple[dict[str, str], float]]:
    moment = _seconds(iso)
    return iter([] if moment is None else [({}, moment)])


def _seconds(iso: str | None) -> float | None:
    try:
        return datetime.datetime.fromisoformat((iso or "").replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError, AttributeError):
        return None


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    pairs = ('{}="{}"'.format(key, value.replace("\\", r"\\").replace('"', r"\"")) for key, value in labels.items())
    return "{" + ",".join(pairs) + "}"
