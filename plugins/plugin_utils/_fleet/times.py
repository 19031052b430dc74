# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Differences between times in ISO 8601 UTC, and ages as people read them. Private to the collection."""

from __future__ import annotations

from datetime import datetime, timezone


def hours_between(earlier: str | None, later: str) -> float | None:
    """The hours between two times, at least 0; None if one of them is not a time."""
    start, end = _moment(earlier), _moment(later)
    return None if start is None or end is None else max(0.0, (end - start).total_seconds() / 3600)


def age(minutes: float) -> str:
    """`90m`, `5h` or `4d`."""
    if minutes < 120:
        return f"{int(minutes)}m"
    return f"{int(minutes // 60)}h" if minutes < 72 * 60 else f"{int(minutes // 1440)}d"


def _moment(text: str | None) -> datetime | None:
    try:
        return datetime.strptime(text or "", "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
