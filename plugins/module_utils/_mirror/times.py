"""Times as ISO 8601 UTC, and ages that are never negative, even after the clock was set back."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import re

_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
# `strptime` is not used, because loading the calendar and the locale takes longer than everything else here.
_WRITTEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def now_iso() -> str:
    return now().strftime(_FORMAT)


def age_seconds(iso: str | None) -> int | None:
    """Seconds since `iso`, never below 0; None for a missing or unreadable time."""
    seconds = _seconds_since(iso)
    return None if seconds is None else max(0, seconds)


def is_future(iso: str | None) -> bool:
    """True when `iso` is more than an hour in the future: the clock was wrong then, or it is wrong now."""
    seconds = _seconds_since(iso)
    return seconds is not None and seconds < -3600


def readable(iso: object) -> str | None:
    """The time if it is one, such as 2026-02-03T10:00:00Z, else None."""
    return iso if isinstance(iso, str) and _moment(iso) is not None else None


def is_beyond_tomorrow(iso: str | None, present: str) -> bool:
    """True when `iso` is after the end of the day that follows `present`. A missing or unreadable time is not."""
    then, today = _moment(iso), _moment(present)
    return then is not None and today is not None and then.date() > today.date() + datetime.timedelta(days=1)


def days_between(iso: str | None, present: str) -> float | None:
    """Days from `iso` to `present`; None where one of them is missing or unreadable."""
    then, today = _moment(iso), _moment(present)
    return None if then is None or today is None else (today - then).total_seconds() / 86400


def hours_after(iso: str, hours: float) -> str:
    """The time that many hours after `iso`, which must be readable."""
    then = _moment(iso)
    if then is None:
        raise ValueError(iso)
    return (then + datetime.timedelta(hours=hours)).strftime(_FORMAT)


def _seconds_since(iso: str | None) -> int | None:
    then = _moment(iso)
    return None if then is None else int((now() - then).total_seconds())


def _moment(iso: str | None) -> datetime.datetime | None:
    if not isinstance(iso, str) or not _WRITTEN.fullmatch(iso):
        return None
    try:
        return datetime.datetime.fromisoformat(iso[:-1] + "+00:00")
    except ValueError:
        return None
